//! A server of a test's own making, on the sockets of a namespace's kernel: one that greets and hangs up, and stands for ssh or
//! anything else on the VIP's host that is none of the load balancer's business; or one that does with each connection what a
//! test says.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::Arc,
    thread,
    time::Duration,
};

use nix::sys::socket::{Shutdown, shutdown};

use super::{error::Error, namespace::Namespace};

const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// The server. It serves until it is dropped; connections that it has taken go on.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // On Linux this makes the accept(2) that the thread is in fail with EINVAL.
        if shutdown(self.listener.as_raw_fd(), Shutdown::Both).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // The loop has no way to panic.
            let _ = thread.join();
        }
    }
}

/// Listens in a namespace, and does `talk` with each connection, on a thread of its own. Port 0: any; see
/// [`Server::address`]. Whatever `talk` waits for needs a limit: nobody ends it.
pub fn serve(
    namespace: &Namespace,
    address: IpAddr,
    port: u16,
    talk: impl Fn(TcpStream) + Send + Sync + 'static,
) -> Result<Server, Error> {
    let failed = |source| Error::Namespace {
        namespace: namespace.name().to_owned(),
        doing: format!("listen on {address} port {port}"),
        source,
    };
    let listener = namespace.run(|| TcpListener::bind((address, port)))?.map_err(failed)?;
    let accepting = listener.try_clone().map_err(failed)?;
    let talk = Arc::new(talk);
    // A socket belongs to the namespace it was made in; the threads need not.
    let thread = thread::spawn(move || {
        while let Ok((stream, _)) = accepting.accept() {
            let talk = Arc::clone(&talk);
            thread::spawn(move || talk(stream));
        }
    });
    Ok(Server { listener, thread: Some(thread) })
}

/// The same, and sends `text` to whoever connects.
pub fn serve_banner(namespace: &Namespace, address: IpAddr, port: u16, text: &str) -> Result<Server, Error> {
    let text = text.to_owned();
    serve(namespace, address, port, move |mut stream| {
        // One client that went away is no reason to end.
        let _ = stream.set_write_timeout(Some(WRITE_LIMIT)).and_then(|()| stream.write_all(text.as_bytes()));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `Drop` relies on, without a namespace.
    #[test]
    fn a_listener_that_is_shut_down_stops_accepting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepting = listener.try_clone().unwrap();
        let thread = thread::spawn(move || accepting.accept().is_err());
        drop(Server { listener, thread: None });
        assert!(thread.join().unwrap());
    }
}

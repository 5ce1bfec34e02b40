//! A server that greets and hangs up: it stands for ssh, or anything else on the VIP's host that is none of the
//! load balancer's business and has to be reached as before.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

use nix::sys::socket::{Shutdown, shutdown};

use super::{error::Error, namespace::Namespace};

const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// The server. It serves until it is dropped.
#[derive(Debug)]
pub struct Banner {
    listener: TcpListener,
    thread: Option<thread::JoinHandle<()>>,
}

impl Banner {
    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

impl Drop for Banner {
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

/// Listens in a namespace and sends `text` to whoever connects. Port 0: any; see [`Banner::address`].
pub fn serve_banner(namespace: &Namespace, address: IpAddr, port: u16, text: &str) -> Result<Banner, Error> {
    let failed = |source| Error::Namespace {
        namespace: namespace.name().to_owned(),
        doing: format!("listen on {address} port {port}"),
        source,
    };
    let listener = namespace.run(|| TcpListener::bind((address, port)))?.map_err(failed)?;
    let accepting = listener.try_clone().map_err(failed)?;
    let text = text.to_owned();
    // A socket belongs to the namespace it was made in; the thread need not.
    let thread = thread::spawn(move || {
        while let Ok((mut stream, _)) = accepting.accept() {
            // One client that went away is no reason to end.
            let _ =
                stream.set_write_timeout(Some(WRITE_LIMIT)).and_then(|()| stream.write_all(text.as_bytes()));
        }
    });
    Ok(Banner { listener, thread: Some(thread) })
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
        drop(Banner { listener, thread: None });
        assert!(thread.join().unwrap());
    }
}

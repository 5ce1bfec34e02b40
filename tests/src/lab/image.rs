//! Images to push and to pull: an OCI image layout with layers of chosen sizes.
//!
//! The content is pseudo-random from a seed: equal arguments give equal digests, and it does not compress.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{error::Error, random::Random};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The one tag in a layout that the lab writes.
const TAG: &str = "latest";

/// An image in an OCI layout on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    path: PathBuf,
    digest: String,
}

impl Image {
    /// Writes an image to `path`, a directory that does not exist yet: one layer for each of `layers`, each
    /// with one file of so many bytes.
    pub fn write(path: &Path, seed: u64, layers: &[u64]) -> Result<Self, Error> {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(Error::file("create the directory", &blobs))?;
        let mut descriptors = Vec::new();
        for (index, &size) in (0_u64..).zip(layers) {
            let blob = write_blob(&blobs, |sink| {
                write_layer(sink, &format!("layer-{index}.bin"), size, seed.wrapping_add(index << 32))
            })?;
            descriptors.push(blob.descriptor(LAYER));
        }
        let contents: Vec<_> = descriptors.iter().map(|layer| layer["digest"].clone()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            // Layers are not compressed: the digest of the content is the blob's.
            "rootfs": {"type": "layers", "diff_ids": contents},
        });
        let config = write_blob(&blobs, |sink| sink.write_all(config.to_string().as_bytes()))?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": descriptors,
        });
        let manifest = write_blob(&blobs, |sink| sink.write_all(manifest.to_string().as_bytes()))?;
        let mut descriptor = manifest.descriptor(MANIFEST);
        descriptor["annotations"] = json!({REFERENCE: TAG});
        write_file(&path.join("index.json"), &json!({"schemaVersion": 2, "manifests": [descriptor]}))?;
        write_file(&path.join("oci-layout"), &json!({"imageLayoutVersion": "1.0.0"}))?;
        Ok(Self { path: path.to_owned(), digest: manifest.digest })
    }

    /// Reads the layout that skopeo wrote to `path`. Its blobs are what skopeo verified them to be.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let index = path.join("index.json");
        let text = fs::read_to_string(&index).map_err(Error::file("read", &index))?;
        let unreadable =
            |why: String| Error::Unreadable { what: index.display().to_string(), why, text: text.clone() };
        let parsed: Value = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let digest = parsed["manifests"][0]["digest"].as_str();
        let digest = digest.ok_or_else(|| unreadable("no manifest's digest".to_owned()))?.to_owned();
        Ok(Self { path: path.to_owned(), digest })
    }

    /// The manifest's digest, `sha256:…`. It covers every byte of the image.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The layout's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As skopeo names the layout: `oci:<path>:latest`.
    pub(super) fn reference(&self) -> String {
        layout_reference(&self.path)
    }
}

/// As skopeo names an OCI layout in this directory.
pub(super) fn layout_reference(path: &Path) -> String {
    format!("oci:{}:{TAG}", path.display())
}

struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        let Self { digest, size } = self;
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }
}

/// Writes a blob under the name that is its own digest.
fn write_blob(blobs: &Path, write: impl FnOnce(&mut Hashing) -> io::Result<()>) -> Result<Blob, Error> {
    let unnamed = blobs.join("unnamed");
    let write_all = || {
        let file = io::BufWriter::with_capacity(1 << 20, File::create(&unnamed)?);
        let mut sink = Hashing { file, hash: Sha256::new(), size: 0 };
        write(&mut sink)?;
        sink.file.flush()?;
        Ok(sink)
    };
    let sink = write_all().map_err(Error::file("write", &unnamed))?;
    let hex: String = sink.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let named = blobs.join(&hex);
    fs::rename(&unnamed, &named).map_err(Error::file("rename the blob to", named))?;
    Ok(Blob { digest: format!("sha256:{hex}"), size: sink.size })
}

fn write_layer(sink: &mut Hashing, name: &str, size: u64, seed: u64) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    let mut archive = tar::Builder::new(sink);
    archive.append_data(&mut header, name, Random::new(seed).take(size))?;
    archive.finish()
}

fn write_file(path: &Path, content: &Value) -> Result<(), Error> {
    fs::write(path, content.to_string()).map_err(Error::file("write", path))
}

/// A file that hashes what is written to it.
struct Hashing {
    file: io::BufWriter<File>,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn equal_arguments_give_equal_images_and_others_do_not() {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, seed, layers: &[u64]| {
            Image::write(&directory.path().join(name), seed, layers).unwrap().digest
        };
        let first = write("a", 1, &[1000, 5]);
        assert_eq!(write("b", 1, &[1000, 5]), first);
        assert_ne!(write("c", 2, &[1000, 5]), first);
        assert_ne!(write("d", 1, &[5, 1000]), first);
    }

    #[test]
    fn every_blob_is_what_its_name_says_and_the_layout_reads_back() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("image");
        let image = Image::write(&path, 7, &[0, 1, 100_000]).unwrap();
        assert_eq!(Image::read(&path).unwrap(), image);
        let mut blobs = 0;
        for entry in fs::read_dir(path.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let hex: String = Sha256::digest(fs::read(entry.path()).unwrap())
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(entry.file_name().to_str(), Some(hex.as_str()));
            blobs += 1;
        }
        assert_eq!(blobs, 3 + 2, "three layers, the configuration and the manifest");
    }

    #[test]
    fn a_layout_without_a_manifest_is_an_error_that_shows_it() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("index.json"), r#"{"manifests": []}"#).unwrap();
        let error = Image::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("index.json") && error.contains("manifests"), "{error}");
    }
}

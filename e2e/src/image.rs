//! A container image made of files, as an OCI archive: no registry, no daemon, no build tool.
//!
//! What comes out depends on what was put in and on nothing else: not on the order, the clock, or who owns the files.
//! The form is that of the OCI image specification 1.1 (`image-layout.md`, `manifest.md`, `config.md`), one layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Who the processes of the project's image are: nobody that a machine knows.
pub const USER: u32 = 65_532;
/// The folder of the project's programs in its image.
pub const PROGRAMS: &str = "usr/local/bin";

const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin";
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// What an image will hold.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    user: u32,
    /// By path inside the image, without the leading slash.
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder { mode: u32 },
    Copy { of: PathBuf, mode: u32 },
    Text { text: String },
    Link { to: PathBuf },
}

impl Image {
    /// An empty image of this full name, such as `localhost/tools:e2e`; its processes are root's until [`Image::user`].
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), entrypoint: Vec::new(), user: 0, entries: BTreeMap::new() }
    }

    /// The image of the project: these programs (name and file) in [`PROGRAMS`], the first of which it runs unless told
    /// otherwise, with the libraries that they are linked against, and the authorities that this machine trusts.
    ///
    /// The programs are those that `cargo build` makes, bound to this machine's libc, which goes with them; static ones, as they are
    /// shipped, stand there alone ([`crate::cli::BINARIES`]).
    ///
    /// # Errors
    /// When a file is missing, or a library cannot be found.
    pub fn of_project(name: &str, programs: &[(&str, &Path)]) -> Result<Self> {
        let mut image = Self::new(name).user(USER);
        for (program, file) in programs {
            image = image.copy(&format!("{PROGRAMS}/{program}"), file, 0o755);
            for library in libraries(file)? {
                let path = library.to_str().context("a library's path is text")?.to_owned();
                image = image.copy(&path, &library, 0o755);
            }
        }
        if let Some((first, _)) = programs.first() {
            image = image.entrypoint(&[&format!("/{PROGRAMS}/{first}")]);
        }
        let user = format!("root:x:0:0:root:/:/\nnonroot:x:{USER}:{USER}:nonroot:/:/\n");
        let group = format!("root:x:0:\nnonroot:x:{USER}:\n");
        Ok(image
            .copy(AUTHORITIES, &Path::new("/").join(AUTHORITIES), 0o644)
            .text("etc/passwd", &user)
            .text("etc/group", &group)
            .text("etc/nsswitch.conf", "hosts: files dns\n")
            .folder("tmp", 0o1777))
    }

    /// What it runs unless told otherwise.
    #[must_use]
    pub fn entrypoint(mut self, command: &[&str]) -> Self {
        self.entrypoint = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The user and group id of its processes.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = id;
        self
    }

    /// A folder. Those that files stand in need not be named.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.with(path, Entry::Folder { mode })
    }

    /// A copy of a file, which is read when the image is written; a link is followed.
    #[must_use]
    pub fn copy(self, path: &str, of: &Path, mode: u32) -> Self {
        self.with(path, Entry::Copy { of: of.to_owned(), mode })
    }

    /// A text file that everybody may read.
    #[must_use]
    pub fn text(self, path: &str, text: &str) -> Self {
        self.with(path, Entry::Text { text: text.to_owned() })
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, to: &str) -> Self {
        self.with(path, Entry::Link { to: to.into() })
    }

    /// Writes the archive, as `ctr images import` and `docker load` read it.
    ///
    /// # Errors
    /// When a file that goes in cannot be read, or the archive cannot be written; the text names it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut layer = self.layer()?;
        let (digest, size) = (layer.digest.clone(), layer.size);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Env": [PATH], "User": format!("{0}:{0}", self.user) },
            "rootfs": { "type": "layers", "diff_ids": [digest] },
        });
        let config = bytes(&config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size }],
        });
        let manifest = bytes(&manifest)?;
        let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        // containerd takes the full name from its own annotation: that of OCI has room for a tag only.
        described["annotations"] =
            json!({ "io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described],
        });
        let mut write = || -> Result<()> {
            let mut archive = Builder::new(File::create(path)?);
            append(&mut archive, "oci-layout", &bytes(&json!({ "imageLayoutVersion": "1.0.0" }))?)?;
            append(&mut archive, "index.json", &bytes(&index)?)?;
            for blob in [&manifest, &config] {
                append(&mut archive, blob_path(&digest_of(blob)), blob)?;
            }
            layer.file.rewind()?;
            let mut header = header(EntryType::Regular, 0o644, size);
            archive.append_data(&mut header, blob_path(&digest), &mut layer.file)?;
            archive.into_inner()?.flush()?;
            Ok(())
        };
        write().with_context(|| format!("cannot write the image {}", path.display()))
    }

    fn with(mut self, path: &str, entry: Entry) -> Self {
        self.entries.insert(path.trim_matches('/').into(), entry);
        self
    }

    fn layer(&self) -> Result<Layer> {
        let written = tempfile::tempfile().context("no temporary file")?;
        let mut archive = Builder::new(Digesting { inner: written, digest: Sha256::new(), size: 0 });
        let mut folders = BTreeSet::new();
        for (path, entry) in &self.entries {
            let parents: Vec<&Path> = path.ancestors().skip(1).filter(|parent| *parent != Path::new("")).collect();
            for parent in parents.into_iter().rev() {
                if !self.entries.contains_key(parent) && folders.insert(parent.to_owned()) {
                    archive.append_data(&mut header(EntryType::Directory, 0o755, 0), parent, io::empty())?;
                }
            }
            match entry {
                Entry::Folder { mode } => {
                    archive.append_data(&mut header(EntryType::Directory, *mode, 0), path, io::empty())?;
                }
                Entry::Text { text } => append(&mut archive, path, text.as_bytes())?,
                Entry::Link { to } => {
                    archive.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, to)?;
                }
                Entry::Copy { of, mode } => {
                    let mut copy = || -> Result<()> {
                        let file = File::open(of)?;
                        let size = file.metadata()?.len();
                        // A file that grows meanwhile must not get into the next entry.
                        archive.append_data(&mut header(EntryType::Regular, *mode, size), path, file.take(size))?;
                        Ok(())
                    };
                    copy().with_context(|| format!("cannot put {} into an image", of.display()))?;
                }
            }
        }
        let Digesting { inner, digest, size } = archive.into_inner()?;
        Ok(Layer { file: inner, digest: named(digest), size })
    }
}

struct Layer {
    file: File,
    digest: String,
    size: u64,
}

/// Counts and digests what it passes on.
struct Digesting<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The libraries that a program is linked against, the loader among them, where this machine has them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd (apt-get install libc-bin)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("ldd {} failed: {text}{}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    parse_libraries(&text).with_context(|| format!("{} would not run in an image", program.display()))
}

/// Reads the lines of `ldd`: `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)`, or `NAME (ADDRESS)` for what the kernel gives.
fn parse_libraries(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        if line == "statically linked" {
            continue;
        }
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        if found.starts_with("not found") {
            bail!("a library is missing: {line}");
        }
        let path = found.split(" (").next().unwrap_or(found);
        if path.starts_with('/') {
            libraries.push(path.into());
        }
    }
    Ok(libraries)
}

/// The name of this machine's architecture in Go, which is that in OCI images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest_of(content), "size": content.len() })
}

fn digest_of(content: &[u8]) -> String {
    named(Sha256::new_with_prefix(content))
}

fn named(digest: Sha256) -> String {
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("JSON can be written")
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(archive: &mut Builder<W>, path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
    let mut header = header(EntryType::Regular, 0o644, content.len() as u64);
    archive.append_data(&mut header, path, content).context("cannot write an archive")
}

/// Writes the archive of an image into a folder, as `NAME.tar` after the image's own name without host and tag.
///
/// # Errors
/// As [`Image::write`].
pub fn write_into(folder: &Path, image: &Image) -> Result<PathBuf> {
    let name = image.name.rsplit('/').next().and_then(|name| name.split(':').next()).context("an image has a name")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{name}.tar"));
    image.write(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> BTreeMap<PathBuf, (EntryType, u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        let read = |entry: io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.unwrap();
            let (path, header) = (entry.path().unwrap().into_owned(), entry.header().clone());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (path, (header.entry_type(), header.mode().unwrap(), bytes))
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn an_archive_follows_from_its_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one.tar"), folder.path().join("other.tar"));
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let image = || Image::new("localhost/a:b");
        image().copy("bin/x", &file, 0o755).text("etc/y", "y").link("bin/z", "x").write(&one).unwrap();
        fs::write(&file, "x").unwrap();
        image().link("/bin/z", "x").text("/etc/y", "y").copy("/bin/x", &file, 0o755).write(&other).unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
        image().copy("bin/x", &file, 0o700).text("etc/y", "y").link("bin/z", "x").write(&other).unwrap();
        assert_ne!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_referred_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        Image::new("localhost/a/b:c").text("etc/x", "x").user(7).entrypoint(&["/x"]).write(&path).unwrap();
        let files = content(&path);
        let blob = |digest: &Value| {
            let digest = digest.as_str().unwrap();
            let (_, _, bytes) = &files[Path::new(&blob_path(digest))];
            assert_eq!(digest_of(bytes), digest);
            bytes.clone()
        };
        let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let index = read(&files[Path::new("index.json")].2);
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/a/b:c");
        let manifest = read(&blob(&index["manifests"][0]["digest"]));
        let config = read(&blob(&manifest["config"]["digest"]));
        assert_eq!(config["config"]["User"], "7:7");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = folder.path().join("layer.tar");
        fs::write(&layer, blob(&manifest["layers"][0]["digest"])).unwrap();
        let layer = content(&layer);
        assert_eq!(layer[Path::new("etc/")], (EntryType::Directory, 0o755, vec![]));
        assert_eq!(layer[Path::new("etc/x")], (EntryType::Regular, 0o644, b"x".to_vec()));
    }

    #[test]
    fn libraries_are_read_from_what_the_loader_says() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_libraries(text).unwrap(), expected);
        assert_eq!(parse_libraries("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
        let missing = parse_libraries("\tlibx.so.1 => not found\n").unwrap_err();
        assert!(missing.to_string().contains("libx.so.1"), "{missing}");
    }
}

//! Fetches the distribution's own PostgreSQL where none is installed, without installing it.
//!
//! May touch: `apt-get` and `dpkg` as child processes, the throwaway directory. The packages are
//! unpacked there, run from there and vanish with it. Debian and its relatives only; elsewhere the
//! error says which command installs PostgreSQL.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::PostgresError;
use super::binaries::{self, Installation};
use super::user::Identity;

/// Downloads, unpacks, and says where the programs are.
pub(super) fn fetch(
    root: &Path,
    identity: &Identity,
    announce: fn(&str),
) -> Result<Installation, PostgresError> {
    let fetched = root.join("fetched");
    fs::create_dir(&fetched).map_err(PostgresError::io(format!("create {}", fetched.display())))?;
    identity.give(&fetched)?;
    from_apt(&fetched, identity, announce).map_err(|why| PostgresError::NotFound {
        looked: format!("PG_BIN, pg_config, PATH and the usual folders; {why}"),
        advice: advice(),
    })
}

fn from_apt(folder: &Path, identity: &Identity, announce: fn(&str)) -> Result<Installation, String> {
    if !has("apt-get") {
        return Err("there is no apt-get to fetch it with".to_owned());
    }
    announce("No PostgreSQL server found; asking apt-get for the packages of one (nothing is installed)");
    let mut packages = missing_packages();
    if packages.is_err() {
        // A fresh container has no package lists, and only root may fetch them.
        announce("apt-get update");
        run(Command::new("apt-get").args(["update", "-q"]))?;
        packages = missing_packages();
    }
    let packages = packages?;
    announce(&format!("apt-get download {} (into {})", packages.join(" "), folder.display()));
    run(identity.command("apt-get").arg("download").arg("-q").args(&packages).current_dir(folder))?;
    let archives = fs::read_dir(folder).map_err(|error| error.to_string())?.flatten();
    for archive in
        archives.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "deb"))
    {
        run(identity.command("dpkg").arg("-x").arg(&archive).arg(folder))?;
    }
    let bin_dir = binaries::versions(&folder.join("usr/lib/postgresql").to_string_lossy(), "", "bin")
        .into_iter()
        .find(|bin| binaries::is_complete(bin))
        .ok_or("the downloaded packages held no server")?;
    Ok(Installation { bin_dir, library_path: Some(library_path(folder)) })
}

/// What would have to be installed for a server to run: the server and the libraries it lacks.
fn missing_packages() -> Result<Vec<String>, String> {
    let plan = run(Command::new("apt-get").args([
        "install",
        "--simulate",
        "--no-install-recommends",
        "postgresql",
    ]))?;
    let packages: Vec<_> = needed_of(&plan);
    if packages.iter().any(|name| name.starts_with("postgresql-")) {
        Ok(packages)
    } else {
        Err("apt-get knows no server package".to_owned())
    }
}

/// Of a simulated installation, the packages a server needs to run: not the just-in-time compiler
/// (large, and switched off), not Perl and the scripts around the server, and no other C library,
/// which would not fit the system's own loader.
fn needed_of(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .filter(|name| is_server(name) || is_library(name))
        .map(str::to_owned)
        .collect()
}

fn is_server(name: &str) -> bool {
    name.strip_prefix("postgresql-").is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit()))
}

fn is_library(name: &str) -> bool {
    const NOT_NEEDED: [&str; 5] = ["libllvm", "libz3", "libclang", "libperl", "libc6"];
    let is_needed = !NOT_NEEDED.iter().any(|prefix| name.starts_with(prefix));
    name.starts_with("lib") && is_needed && !name.ends_with("-perl") && !name.starts_with("libc-")
}

/// Every folder with shared libraries, the multiarch ones included.
fn library_path(folder: &Path) -> String {
    let mut folders = Vec::new();
    for base in ["usr/lib", "lib"].map(|base| folder.join(base)) {
        let multiarch = fs::read_dir(&base).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(multiarch.filter(|path| path.to_string_lossy().contains("-linux-gnu")));
        folders.push(base);
    }
    folders.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(":")
}

fn run(command: &mut Command) -> Result<String, String> {
    let name = format!("{}", command.get_program().display());
    let output = command.output().map_err(|error| format!("{name} could not be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", stderr.lines().last().unwrap_or("no reason given")))
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn advice() -> &'static str {
    if has("apt-get") {
        "install it with `sudo apt-get update && sudo apt-get install postgresql`"
    } else if has("dnf") {
        "install it with `sudo dnf install postgresql-server`"
    } else if has("apk") {
        "install it with `apk add postgresql`"
    } else if has("brew") {
        "install it with `brew install postgresql@17`"
    } else {
        "install the package of PostgreSQL's server"
    }
}

#[cfg(test)]
mod tests {
    use super::needed_of;

    #[test]
    fn a_server_needs_its_libraries_and_nothing_else() {
        let plan = "Reading package lists...\n\
                    Inst libpq5 (15.20 Debian:12 [amd64])\nInst perl (5.36 Debian:12 [amd64])\n\
                    Inst libc6 [2.36-1] (2.36-9 Debian:12 [amd64])\n\
                    Inst libjson-perl (4 Debian:12 [all])\nInst libllvm14 (14 Debian:12 [amd64])\n\
                    Inst libicu72 (72 Debian:12 [amd64])\nInst postgresql-common (248 Debian:12 [all])\n\
                    Inst postgresql-15 (15.20 Debian:12 [amd64])\nInst postgresql (15 Debian:12 [all])\n\
                    Conf libpq5 (15.20 Debian:12 [amd64])\n";
        assert_eq!(needed_of(plan), ["libpq5", "libicu72", "postgresql-15"]);
    }
}

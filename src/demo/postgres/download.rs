//! Downloads the distribution's PostgreSQL packages if no server is installed, without installing them.
//!
//! May touch: `apt-get` and `dpkg` as child processes, and the throwaway directory. The packages are unpacked and run
//! in that directory, and removed with it. Works on Debian and its derivatives only; elsewhere the error shows how
//! to install PostgreSQL.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::PostgresError;
use super::binaries::{self, Installation};
use super::user::Identity;

/// Downloads and unpacks the packages. Returns where the programs are.
pub(super) fn download(
    root: &Path,
    identity: &Identity,
    on_progress: fn(&str),
) -> Result<Installation, PostgresError> {
    let folder = root.join("packages");
    fs::create_dir(&folder).map_err(PostgresError::io(format!("create {}", folder.display())))?;
    identity.own(&folder)?;
    download_with_apt(&folder, identity, on_progress).map_err(|why| PostgresError::NotFound {
        looked: format!("PG_BIN, pg_config, PATH and the usual folders; {why}"),
        hint: install_hint(),
    })
}

fn download_with_apt(
    folder: &Path,
    identity: &Identity,
    on_progress: fn(&str),
) -> Result<Installation, String> {
    if !is_in_path("apt-get") {
        return Err("apt-get, which could download it, is not installed".to_owned());
    }
    on_progress("No PostgreSQL server found; downloading its packages with apt-get (nothing is installed)");
    let mut packages = missing_packages();
    if packages.is_err() {
        // A new container has no package lists, and only root may download them.
        on_progress("apt-get update");
        run_command(Command::new("apt-get").args(["update", "-q"]))?;
        packages = missing_packages();
    }
    let packages = packages?;
    on_progress(&format!("apt-get download {} (into {})", packages.join(" "), folder.display()));
    run_command(identity.command("apt-get").arg("download").arg("-q").args(&packages).current_dir(folder))?;
    let archives = fs::read_dir(folder).map_err(|error| error.to_string())?.flatten();
    for archive in
        archives.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "deb"))
    {
        run_command(identity.command("dpkg").arg("-x").arg(&archive).arg(folder))?;
    }
    let bin_dir = binaries::versions(&folder.join("usr/lib/postgresql").to_string_lossy(), "", "bin")
        .into_iter()
        .find(|bin| binaries::is_complete(bin))
        .ok_or("the downloaded packages contain no server")?;
    Ok(Installation { bin_dir, library_path: Some(library_path(folder)) })
}

/// The packages that a server needs and that are not installed: the server itself and libraries.
fn missing_packages() -> Result<Vec<String>, String> {
    let plan = run_command(Command::new("apt-get").args([
        "install",
        "--simulate",
        "--no-install-recommends",
        "postgresql",
    ]))?;
    let packages: Vec<_> = required_packages(&plan);
    if packages.iter().any(|name| name.starts_with("postgresql-")) {
        Ok(packages)
    } else {
        Err("apt-get has no server package".to_owned())
    }
}

/// Selects from a simulated installation the packages that a server needs to run. Leaves out the just-in-time
/// compiler (large, and switched off), Perl and the scripts around the server, and the C library, which would not
/// match the system's loader.
fn required_packages(plan: &str) -> Vec<String> {
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

/// Every folder with shared libraries, including the multiarch ones.
fn library_path(folder: &Path) -> String {
    let mut folders = Vec::new();
    for base in ["usr/lib", "lib"].map(|base| folder.join(base)) {
        let multiarch = fs::read_dir(&base).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(multiarch.filter(|path| path.to_string_lossy().contains("-linux-gnu")));
        folders.push(base);
    }
    folders.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>().join(":")
}

fn run_command(command: &mut Command) -> Result<String, String> {
    let name = format!("{}", command.get_program().display());
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", stderr.lines().last().unwrap_or("no error message")))
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn install_hint() -> &'static str {
    if is_in_path("apt-get") {
        "install it with `sudo apt-get update && sudo apt-get install postgresql`"
    } else if is_in_path("dnf") {
        "install it with `sudo dnf install postgresql-server`"
    } else if is_in_path("apk") {
        "install it with `apk add postgresql`"
    } else if is_in_path("brew") {
        "install it with `brew install postgresql@17`"
    } else {
        "install the PostgreSQL server package"
    }
}

#[cfg(test)]
mod tests {
    use super::required_packages;

    #[test]
    fn only_the_server_and_its_libraries_are_required() {
        let plan = "Reading package lists...\n\
                    Inst libpq5 (15.20 Debian:12 [amd64])\nInst perl (5.36 Debian:12 [amd64])\n\
                    Inst libc6 [2.36-1] (2.36-9 Debian:12 [amd64])\n\
                    Inst libjson-perl (4 Debian:12 [all])\nInst libllvm14 (14 Debian:12 [amd64])\n\
                    Inst libicu72 (72 Debian:12 [amd64])\nInst postgresql-common (248 Debian:12 [all])\n\
                    Inst postgresql-15 (15.20 Debian:12 [amd64])\nInst postgresql (15 Debian:12 [all])\n\
                    Conf libpq5 (15.20 Debian:12 [amd64])\n";
        assert_eq!(required_packages(plan), ["libpq5", "libicu72", "postgresql-15"]);
    }
}

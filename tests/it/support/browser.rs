//! Drives Debian's Chromium through chromedriver, so that tests see the rendered pages.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};

/// One browser window with its own driver process. Both end when this value is dropped.
pub struct Browser {
    pub window: WebDriver,
    driver: Child,
}

/// The colour scheme that the emulated system prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorScheme {
    Light,
    Dark,
}

impl ColorScheme {
    pub const ALL: [Self; 2] = [Self::Light, Self::Dark];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

fn find_installed(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.exists())
}

impl Browser {
    /// Starts a browser. Returns `None` if Chromium or chromedriver is not installed.
    pub async fn start() -> Option<Self> {
        let (chromium, driver) = (find_installed("chromium")?, find_installed("chromedriver")?);
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("stdout is piped")).lines();
        let port = tokio::task::spawn_blocking(move || {
            let ready_line =
                lines.by_ref().map_while(Result::ok).find(|line| line.contains("successfully on port "));
            let port = ready_line.as_deref().and_then(|line| line.rsplit("port ").next()).map(str::to_owned);
            // Keep reading, or the driver blocks when the pipe is full.
            std::thread::spawn(move || lines.for_each(drop));
            port
        });
        let port = port.await.expect("the reader task finishes").expect("the driver prints its port");
        let port = port.trim_end_matches('.');
        course_sync::tls::install_provider();
        let window = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&chromium)).await;
        Some(Self { window: window.expect("a window"), driver })
    }

    /// Emulates a window of this size with this colour scheme.
    pub async fn set_viewport(&self, width: u32, height: u32, scheme: ColorScheme) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        let colours = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme.as_str() }] });
        let devtools = self.window.cdp();
        devtools.send_raw("Emulation.setDeviceMetricsOverride", size).await.expect("a size");
        devtools.send_raw("Emulation.setEmulatedMedia", colours).await.expect("colours");
    }

    /// Runs a script in the page and returns its result.
    pub async fn run_script(&self, script: &str) -> serde_json::Value {
        let answer = self.window.execute(script, Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// The entries of the browser's console since the last call: errors and violations of the page's security policy.
    pub async fn console_errors(&self) -> Vec<String> {
        let log = self.window.browser_log().await.expect("the browser's log");
        log.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// Saves a screenshot of the whole page.
    pub async fn screenshot_page(&self, width: u32, scheme: ColorScheme, path: &Path) {
        let height = self.run_script("return document.documentElement.scrollHeight").await;
        let height = height.as_u64().and_then(|height| u32::try_from(height).ok()).expect("a height");
        self.set_viewport(width, height, scheme).await;
        self.window.screenshot(path).await.expect("a screenshot");
    }

    /// Closes the window.
    pub async fn close(self) {
        self.window.clone().quit().await.expect("the window closes");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The process may have exited already.
        let _killed = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

fn capabilities(chromium: &Path) -> ChromeCapabilities {
    let mut wanted = DesiredCapabilities::chrome();
    wanted.set_binary(chromium.to_str().expect("a path in UTF-8")).expect("a binary");
    // Chromium has no sandbox when run as root. Only our own page is loaded.
    for argument in
        ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
    {
        wanted.add_arg(argument).expect("an argument");
    }
    wanted.set_browser_log_level(LoggingPrefsLogLevel::All).expect("a level");
    wanted
}

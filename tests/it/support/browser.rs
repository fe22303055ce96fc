//! Debian's Chromium, driven by its own driver: pages as a person sees them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, LoggingPrefsLogLevel};

/// A window of a browser of its own. Ends with its value.
pub struct Browser {
    pub window: WebDriver,
    driver: Child,
}

/// Colours as the reader's system has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

impl Scheme {
    pub const ALL: [Self; 2] = [Self::Light, Self::Dark];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

fn installed(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| path.exists())
}

impl Browser {
    /// Starts one. `None`: Chromium or its driver is not installed here.
    pub async fn start() -> Option<Self> {
        let (chromium, driver) = (installed("chromium")?, installed("chromedriver")?);
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("stdout is piped")).lines();
        let port = tokio::task::spawn_blocking(move || {
            let said =
                lines.by_ref().map_while(Result::ok).find(|line| line.contains("successfully on port "));
            let port = said.as_deref().and_then(|line| line.rsplit("port ").next()).map(str::to_owned);
            // What it says later is read as well, lest it waits for its reader.
            std::thread::spawn(move || lines.for_each(drop));
            port
        });
        let port = port.await.expect("not interrupted").expect("the driver tells its port");
        let port = port.trim_end_matches('.');
        let window = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities(&chromium)).await;
        Some(Self { window: window.expect("a window"), driver })
    }

    /// Sees the page as a window of this size shows it, in these colours.
    pub async fn look_through(&self, width: u32, height: u32, scheme: Scheme) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        let colours = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme.as_str() }] });
        let devtools = self.window.cdp();
        devtools.send_raw("Emulation.setDeviceMetricsOverride", size).await.expect("a size");
        devtools.send_raw("Emulation.setEmulatedMedia", colours).await.expect("colours");
    }

    /// What a script returns.
    pub async fn ask(&self, script: &str) -> serde_json::Value {
        let answer = self.window.execute(script, Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// What the browser complained of since it was asked last: errors, and breaches of the page's policy.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.window.browser_log().await.expect("the browser's log");
        log.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    /// The whole page as a picture.
    pub async fn picture(&self, width: u32, scheme: Scheme, path: &Path) {
        let height = self.ask("return document.documentElement.scrollHeight").await;
        let height = height.as_u64().and_then(|height| u32::try_from(height).ok()).expect("a height");
        self.look_through(width, height, scheme).await;
        self.window.screenshot(path).await.expect("a picture");
    }

    /// Closes it.
    pub async fn close(self) {
        self.window.clone().quit().await.expect("the window closes");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

fn capabilities(chromium: &Path) -> ChromeCapabilities {
    let mut wanted = DesiredCapabilities::chrome();
    wanted.set_binary(chromium.to_str().expect("a path in UTF-8")).expect("a binary");
    // As root there is no sandbox; nothing but our own page is shown.
    for argument in
        ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"]
    {
        wanted.add_arg(argument).expect("an argument");
    }
    wanted.set_browser_log_level(LoggingPrefsLogLevel::All).expect("a level");
    wanted
}

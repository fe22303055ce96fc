//! The console in a real browser: hostile text, small screens, dark and light, and the errors of the browser.

use serde_json::json;
use thirtyfour::prelude::*;

use crate::support::browser::{Browser, ColorScheme};
use crate::support::eventually::eventually;
use crate::support::world::World;

const HOSTILE: &str = "<script>alert(1)</script>\u{202e}&\"'";

/// Texts whose contrast with their background is below 4.5.
const FAINT: &str = r"
    const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
    const over = (top, below) => top.slice(0, 3).map((c, i) => c * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
    const ground = (element) => {
        if (!element) return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255];
        const own = parse(getComputedStyle(element).backgroundColor);
        return (own[3] ?? 1) === 1 ? own : over(own, ground(element.parentElement));
    };
    const light = (colour) => {
        const [r, g, b] = colour.map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    let seen = 0;
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest('svg, noscript')) continue;
        seen += 1;
        const below = ground(element);
        const colour = over(parse(getComputedStyle(element).color), below);
        const [high, low] = [light(colour), light(below)].sort((a, b) => b - a);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.tagName}.${element.className} ${texts.currentNode.data}`);
    }
    return { seen, faint, ground: ground(document.body) };";

/// The width of the page, and its widest element.
const WIDEST: &str = r"
    const right = (element) => element.getBoundingClientRect().right;
    const furthest = [...document.querySelectorAll('main *')].sort((a, b) => right(b) - right(a))[0];
    return [Math.ceil(Math.max(document.documentElement.scrollWidth, right(furthest))), furthest.outerHTML.slice(0, 200)];";

/// The accessibility and security features of every page.
const SHAPE: &str = r"
    const count = (selector) => document.querySelectorAll(selector).length;
    const named = [...document.querySelectorAll('svg[role=img]')].filter((svg) =>
        svg.getAttribute('aria-labelledby').split(' ').concat(svg.getAttribute('aria-describedby').split(' '))
            .every((id) => document.getElementById(id)?.textContent));
    return {
        landmarks: [count('header'), count('main'), count('footer'), count('form[role=search]')],
        h1: count('h1'), captions: count('table:has(> caption)') === count('table'),
        plots: count('svg[role=img]'), named: named.length,
        scripts: [...document.scripts].map((script) => script.getAttribute('src')),
        styled: count('[style], style'), labelled: count('section[aria-labelledby]') === count('section'),
    };";

/// A world with valid courses, and some that fail under hostile keys.
async fn world_with_hostile_courses() -> World {
    let world = World::new().await;
    world.enqueue_many("A", 400).await;
    for (key, properties) in [
        (HOSTILE.to_owned(), json!({ "hs_course_name": "x", "credits_of_old": "3" })),
        ("no-number".to_owned(), json!({ "hs_course_name": "x", "hs_enrollment_capacity": "many" })),
        ("W".repeat(255), json!({ "hs_course_name": "x", "<img src=x onerror=alert(2)>": "y" })),
        ("no-name".to_owned(), json!({ "hs_course_description": "x" })),
    ] {
        // The database refuses such keys now; older versions did not.
        world.enqueue_without_checks(&key, &properties).await;
    }
    world
}

async fn insert_pause(world: &World) {
    sqlx::query("insert into course_sync_pause (reason, message, author) values ('operator', $1, 'Ada <b>')")
        .bind("the catalogue is being cleaned <script>alert(3)</script>")
        .execute(world.pool())
        .await
        .unwrap();
}

async fn delete_pause(world: &World) {
    sqlx::query("delete from course_sync_pause").execute(world.pool()).await.unwrap();
}

/// Waits until the page's script shows this text.
async fn wait_for_text(browser: &Browser, text: &str) {
    eventually(&format!("the page contains {text:?}"), async || {
        let page = browser.run_script("return document.getElementById('live').innerText").await;
        let page = page.as_str().unwrap_or_default().to_owned();
        if page.contains(text) { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test]
async fn the_console_works_in_a_browser() {
    let Some(browser) = Browser::start().await else {
        eprintln!("skipped: chromium and chromedriver are not installed");
        return;
    };
    let world = world_with_hostile_courses().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    world.wait_until_all_are(&["synced", "failed"]).await;
    insert_pause(&world).await;
    browser.set_viewport(1280, 900, ColorScheme::Light).await;
    browser.window.goto(format!("{admin}/")).await.unwrap();
    wait_for_text(&browser, "An operator paused sending").await;
    daemon.wait_for_log("the catalogue is being cleaned").await;
    world.enqueue_many("B", 1_234).await;
    wait_for_text(&browser, "1,234 courses are waiting").await;
    // A typed key stays when the page updates itself.
    let field = browser.window.find(By::Css("input[name=course]")).await.unwrap();
    field.send_keys("no-number").await.unwrap();
    browser.run_script("window.isTheSame = true; document.getElementById('live').dataset.old = 1").await;
    eventually("the page updates itself", async || {
        let old = browser.run_script("return document.getElementById('live').dataset.old ?? null").await;
        if old.is_null() { Ok(()) } else { Err(old) }
    })
    .await;
    let kept = browser
        .run_script("return [window.isTheSame, document.querySelector('input[name=course]').value]")
        .await;
    assert_eq!(kept, json!([true, "no-number"]));
    field.send_keys(Key::Enter + "").await.unwrap();
    wait_for_text(&browser, "What you can do").await;
    let address = browser.window.current_url().await.unwrap();
    assert_eq!(address.query(), Some("course=no-number"));
    wait_for_text(&browser, "run course-sync retry --key no-number").await;
    assert_eq!(browser.console_errors().await, [""; 0]);

    // The hostile key is found through its group, and shown in each width and colour scheme.
    browser.window.goto(format!("{admin}/")).await.unwrap();
    let example = browser.window.find(By::PartialLinkText("<script>alert(1)</script>")).await.unwrap();
    example.click().await.unwrap();
    wait_for_text(&browser, "What you can do").await;
    let address = browser.window.current_url().await.unwrap();
    let pictures = std::env::temp_dir().join("course-sync-console");
    std::fs::create_dir_all(&pictures).unwrap();
    for width in [1280, 360] {
        for scheme in ColorScheme::ALL {
            let what = format!("{width} {scheme:?}");
            browser.set_viewport(width, 800, scheme).await;
            browser.window.goto(address.as_str()).await.unwrap();
            check_page(&browser, width, scheme, &what).await;
            let picture = pictures.join(format!("console-{width}-{}.png", scheme.as_str()));
            browser.screenshot_page(width, scheme, &picture).await;
        }
    }

    // After the pause the page updates itself.
    delete_pause(&world).await;
    wait_for_text(&browser, "Up to date").await;
    assert_eq!(browser.run_script("return document.title").await, "Up to date · course-sync");
    assert_eq!(browser.console_errors().await, [""; 0]);
    // An inline style would have been reported by the browser.
    browser.run_script("document.body.setAttribute('style', 'color: red')").await;
    let complaints = browser.console_errors().await.join("\n");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
    browser.close().await;
}

async fn check_page(browser: &Browser, width: u32, scheme: ColorScheme, what: &str) {
    // Not innerWidth: on a phone it grows with content that does not fit.
    let widest = browser.run_script(WIDEST).await;
    assert!(widest[0].as_u64() <= Some(width.into()), "{what} scrolls sideways: {widest}");
    let contrast = browser.run_script(FAINT).await;
    assert!(contrast["seen"].as_u64() > Some(80), "{what}: {contrast}");
    assert_eq!(contrast["faint"], json!([]), "{what}");
    let is_dark = contrast["ground"][0].as_f64() < Some(128.0);
    assert_eq!(is_dark, scheme == ColorScheme::Dark, "{what}: {contrast}");
    let shape = browser.run_script(SHAPE).await;
    let expected = json!({
        "landmarks": [1, 1, 1, 1], "h1": 1, "captions": true, "plots": 3, "named": 3,
        "scripts": ["/console.js"], "styled": 0, "labelled": true,
    });
    assert_eq!(shape, expected, "{what}");
    let text = browser.run_script("return document.body.innerText").await;
    let text = text.as_str().unwrap();
    // The character that reverses text is replaced.
    for expected in ["<script>alert(1)</script>\u{fffd}&\"'", "PROPERTY_DOESNT_EXIST", "Ada <b>", "alert(3)"]
    {
        assert!(text.contains(expected), "{what}: {expected} in {text}");
    }
    assert!(!text.contains('\u{202e}'), "{what}");
    assert_eq!(browser.console_errors().await, [""; 0], "{what}");
}

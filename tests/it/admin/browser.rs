//! The console in a real browser: hostile texts, a phone, dark and light, what the browser complains of.

use serde_json::json;
use thirtyfour::prelude::*;

use crate::support::browser::{Browser, Scheme};
use crate::support::eventually::eventually;
use crate::support::world::World;

const HOSTILE: &str = "<script>alert(1)</script>\u{202e}&\"'";

/// Texts whose contrast with their ground is below 4.5, as a person sees them.
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

/// How wide the page is, and what reaches furthest.
const WIDEST: &str = r"
    const right = (element) => element.getBoundingClientRect().right;
    const furthest = [...document.querySelectorAll('main *')].sort((a, b) => right(b) - right(a))[0];
    return [Math.ceil(Math.max(document.documentElement.scrollWidth, right(furthest))), furthest.outerHTML.slice(0, 200)];";

/// What every page of ours has for those who do not see it, and has not for those who would attack it.
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

/// A world with good courses, some that failed under hostile keys, and a person's pause.
async fn eventful() -> World {
    let world = World::new().await;
    world.enqueue_many("A", 400).await;
    for (key, properties) in [
        (HOSTILE.to_owned(), json!({ "hs_course_name": "x", "credits_of_old": "3" })),
        ("no-number".to_owned(), json!({ "hs_course_name": "x", "hs_enrollment_capacity": "many" })),
        ("W".repeat(255), json!({ "hs_course_name": "x", "<img src=x onerror=alert(2)>": "y" })),
        ("no-name".to_owned(), json!({ "hs_course_description": "x" })),
    ] {
        // The database refuses such keys today, and did not always.
        world.enqueue_unrefused(&key, &properties).await;
    }
    world
}

async fn pause(world: &World) {
    sqlx::query("insert into course_sync_pause (reason, message, author) values ('operator', $1, 'Ada <b>')")
        .bind("the catalogue is being cleaned <script>alert(3)</script>")
        .execute(world.pool())
        .await
        .unwrap();
}

async fn resume(world: &World) {
    sqlx::query("delete from course_sync_pause").execute(world.pool()).await.unwrap();
}

/// Waits until the page's own script has brought this text.
async fn brought(browser: &Browser, text: &str) {
    eventually(&format!("the page tells {text:?}"), async || {
        let page = browser.ask("return document.getElementById('live').innerText").await;
        let page = page.as_str().unwrap_or_default().to_owned();
        if page.contains(text) { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test]
async fn as_a_person_sees_it() {
    let Some(browser) = Browser::start().await else {
        eprintln!("skipped: chromium and chromedriver are not installed");
        return;
    };
    let world = eventful().await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    world.all_are(&["synced", "failed"]).await;
    pause(&world).await;
    browser.look_through(1280, 900, Scheme::Light).await;
    browser.window.goto(format!("{admin}/")).await.unwrap();
    brought(&browser, "A person paused the sending").await;
    daemon.logged("the catalogue is being cleaned").await;
    world.enqueue_many("B", 1_234).await;
    brought(&browser, "1,234 courses wait").await;
    // A person types a key; the page, brought up to date meanwhile, keeps it.
    let field = browser.window.find(By::Css("input[name=course]")).await.unwrap();
    field.send_keys("no-number").await.unwrap();
    browser.ask("window.isTheSame = true; document.getElementById('live').dataset.old = 1").await;
    eventually("the page is brought up to date", async || {
        let old = browser.ask("return document.getElementById('live').dataset.old ?? null").await;
        if old.is_null() { Ok(()) } else { Err(old) }
    })
    .await;
    let kept =
        browser.ask("return [window.isTheSame, document.querySelector('input[name=course]').value]").await;
    assert_eq!(kept, json!([true, "no-number"]));
    field.send_keys(Key::Enter + "").await.unwrap();
    brought(&browser, "What happened").await;
    let address = browser.window.current_url().await.unwrap();
    assert_eq!(address.query(), Some("course=no-number"));
    brought(&browser, "Then course-sync retry --key no-number").await;
    assert_eq!(browser.complaints().await, [""; 0]);

    // The hostile one is found from its group, and shown in every width and colour.
    browser.window.goto(format!("{admin}/")).await.unwrap();
    let example = browser.window.find(By::PartialLinkText("<script>alert(1)</script>")).await.unwrap();
    example.click().await.unwrap();
    brought(&browser, "What happened").await;
    let address = browser.window.current_url().await.unwrap();
    let pictures = std::env::temp_dir().join("course-sync-console");
    std::fs::create_dir_all(&pictures).unwrap();
    for width in [1280, 360] {
        for scheme in Scheme::ALL {
            let what = format!("{width} {scheme:?}");
            browser.look_through(width, 800, scheme).await;
            browser.window.goto(address.as_str()).await.unwrap();
            judge(&browser, width, scheme, &what).await;
            let picture = pictures.join(format!("console-{width}-{}.png", scheme.as_str()));
            browser.picture(width, scheme, &picture).await;
        }
    }

    // What was paused goes on, and the page says so by itself.
    resume(&world).await;
    brought(&browser, "Up to date").await;
    assert_eq!(browser.ask("return document.title").await, "Up to date · course-sync");
    assert_eq!(browser.complaints().await, [""; 0]);
    // The browser would have complained.
    browser.ask("document.body.setAttribute('style', 'color: red')").await;
    let complaints = browser.complaints().await.join("\n");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
    browser.close().await;
}

async fn judge(browser: &Browser, width: u32, scheme: Scheme, what: &str) {
    // Not beside innerWidth: a phone's grows with what does not fit.
    let widest = browser.ask(WIDEST).await;
    assert!(widest[0].as_u64() <= Some(width.into()), "{what} scrolls sideways: {widest}");
    let contrast = browser.ask(FAINT).await;
    assert!(contrast["seen"].as_u64() > Some(80), "{what}: {contrast}");
    assert_eq!(contrast["faint"], json!([]), "{what}");
    let is_dark = contrast["ground"][0].as_f64() < Some(128.0);
    assert_eq!(is_dark, scheme == Scheme::Dark, "{what}: {contrast}");
    let shape = browser.ask(SHAPE).await;
    let expected = json!({
        "landmarks": [1, 1, 1, 1], "h1": 1, "captions": true, "plots": 3, "named": 3,
        "scripts": ["/console.js"], "styled": 0, "labelled": true,
    });
    assert_eq!(shape, expected, "{what}");
    let text = browser.ask("return document.body.innerText").await;
    let text = text.as_str().unwrap();
    // The turned text is marked, not turned.
    for told in ["<script>alert(1)</script>\u{fffd}&\"'", "PROPERTY_DOESNT_EXIST", "Ada <b>", "alert(3)"] {
        assert!(text.contains(told), "{what}: {told} in {text}");
    }
    assert!(!text.contains('\u{202e}'), "{what}");
    assert_eq!(browser.complaints().await, [""; 0], "{what}");
}

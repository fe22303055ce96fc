//! No secret comes out anywhere, whatever goes wrong.

use course_sync::demo::postgres::{Options, ThrowawayPostgres};
use course_sync::simulator::{Answer, Dialect, Fault, Operation};

use super::get;
use crate::support::daemon::{output, program};
use crate::support::eventually::eventually;
use crate::support::world::World;

const TOKEN: &str = "pat-na1-canary-7d1f0c52";

#[tokio::test]
async fn neither_token_nor_password_is_told() {
    let cluster = ThrowawayPostgres::start(Options { listen_tcp: true, ..Options::default() }).await.unwrap();
    let url = cluster.tcp_url("postgres");
    let password = url.split([':', '@']).nth(2).unwrap().to_owned();
    assert_eq!(password.len(), 32, "the password");
    let mut world = World::new().await;
    world.hubspot.set_token(TOKEN);
    world.settings.insert("DATABASE_URL".into(), url);
    world.settings.insert("HUBSPOT_ACCESS_TOKEN".into(), TOKEN.into());
    world.set("LOG__FILTER", "trace");
    let mut told = Vec::new();
    let mut run = async |world: &World, arguments: &[&str]| {
        let mut command = program(&world.settings);
        command.args(arguments);
        let said = output(command).await;
        told.push(format!("{arguments:?}"));
        told.push(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned());
    };
    let mut courses = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
    std::io::Write::write_all(&mut courses, b"{\"course_key\":\"A\",\"hs_course_name\":\"A\"}\nnot json\n")
        .unwrap();
    run(&world, &["migrate"]).await;
    run(&world, &["enqueue", courses.path().to_str().unwrap()]).await;

    // A bad day, and then a token that is refused.
    for answer in [
        Answer::Error { status: 502, body: course_sync::simulator::ErrorForm::Html, retry_after: None },
        Answer::RateLimited { dialect: Dialect::Secondly, retry_after: Some(1) },
        Answer::Reset,
        Answer::Garbage,
    ] {
        world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate).times(1));
    }
    let mut daemon = world.daemon();
    let admin = daemon.admin().await;
    eventually("the bad day is over", async || match world.hubspot.faults().len() {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
    world.hubspot.set_token("another");
    std::fs::write(courses.path(), "{\"course_key\":\"B\",\"hs_course_name\":\"B\"}\n").unwrap();
    run(&world, &["enqueue", courses.path().to_str().unwrap()]).await;
    eventually("the token is refused", async || {
        let answer = get(&format!("{admin}/readyz")).await;
        if answer.text.contains("\"token\"") { Ok(()) } else { Err(answer.text) }
    })
    .await;
    run(&world, &["status"]).await;
    run(&world, &["status", "--json"]).await;
    let page = async |path: &str| get(&format!("{admin}{path}")).await.text;
    let pages = async || {
        let (metrics, status, readyz, console) =
            tokio::join!(page("/metrics"), page("/status"), page("/readyz"), page("/"));
        [metrics, status, readyz, console]
    };
    let before = pages().await;
    // Without its database, too.
    cluster.stop_server(course_sync::demo::postgres::Shutdown::Immediate).await.unwrap();
    let without = pages().await;
    run(&world, &["status"]).await;
    run(&world, &["migrate"]).await;
    daemon.signal("TERM");
    daemon.signal("TERM");
    daemon.ended().await;
    told.push(daemon.log());
    told.extend(before.into_iter().chain(without));
    for (number, text) in told.iter().enumerate() {
        assert!(!text.is_empty(), "{number}: something was said");
        for secret in [TOKEN, &password] {
            let at = text.find(secret);
            assert_eq!(at, None, "{:?}", at.map(|at| &text[at.saturating_sub(200)..at]));
        }
    }
    cluster.stop().await.unwrap();
}

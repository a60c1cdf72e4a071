//! An upstream that is a cluster: three RabbitMQ nodes, and a quorum queue behind their MQTT. One node stops, and the
//! gateway goes to another; two stop, and there is no majority, so the gateway keeps; all are back, and nothing is lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Gateway, Process, Pty, free_port, json_device, program, within};

/// A node takes its time to start, and to give up.
const NODE_PATIENCE: Duration = Duration::from_secs(120);

struct Node {
    name: String,
    mqtt: u16,
    amqp: u16,
    dir: PathBuf,
    process: Option<Process>,
}

struct Cluster {
    dir: PathBuf,
    epmd: u16,
    nodes: Vec<Node>,
}

impl Cluster {
    fn start(dir: &Path) -> Self {
        let cookie = dir.join(".erlang.cookie");
        std::fs::write(&cookie, "FIELDGATE").unwrap();
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400)).unwrap();
        std::fs::write(dir.join("plugins"), "[rabbitmq_mqtt].\n").unwrap();
        let nodes = (1..=3).map(|number| {
            let folder = dir.join(format!("node{number}"));
            std::fs::create_dir(&folder).unwrap();
            let name = format!("fg{number}-{}@localhost", std::process::id());
            Node { name, mqtt: free_port(), amqp: free_port(), dir: folder, process: None }
        });
        let mut cluster = Self { dir: dir.to_owned(), epmd: free_port(), nodes: nodes.collect() };
        let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
        for node in &cluster.nodes {
            let mut text = format!(
                "listeners.tcp.1 = 127.0.0.1:{}\nmqtt.listeners.tcp.1 = 127.0.0.1:{}\nmqtt.allow_anonymous = true\n\
                 cluster_partition_handling = pause_minority\n\
                 cluster_formation.peer_discovery_backend = classic_config\n",
                node.amqp, node.mqtt
            );
            for (number, name) in names.iter().enumerate() {
                text += &format!("cluster_formation.classic_config.nodes.{} = {name}\n", number + 1);
            }
            std::fs::write(node.dir.join("rabbitmq.conf"), text).unwrap();
        }
        // One after the other: the first makes the cluster that the others join.
        for number in 0..3 {
            cluster.start_node(number);
            cluster.wait_mqtt(number);
        }
        cluster
    }

    fn command(&self, node: &Node, program_name: &str) -> Command {
        let mut command = Command::new(Path::new("/usr/lib/rabbitmq/bin").join(program_name));
        let dist = node.amqp.to_string();
        command
            .env("HOME", &self.dir)
            .env("RABBITMQ_NODENAME", &node.name)
            .env("RABBITMQ_DIST_PORT", (node.amqp.wrapping_add(20_000)).to_string())
            .env("RABBITMQ_NODE_PORT", dist)
            .env("RABBITMQ_MNESIA_BASE", node.dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", node.dir.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", node.dir.join("pid"))
            .env("RABBITMQ_CONFIG_FILE", node.dir.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", node.dir.join("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.dir.join("plugins"))
            .env("ERL_EPMD_PORT", self.epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    }

    fn start_node(&mut self, number: usize) {
        let mut command = self.command(&self.nodes[number], "rabbitmq-server");
        self.nodes[number].process = Some(Process::start("rabbitmq-server", &mut command));
    }

    fn wait_mqtt(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let process = node.process.as_mut().expect("the node runs");
        within(NODE_PATIENCE, &format!("node {number} listens"), || {
            assert!(process.is_running(), "node {number} ended:\n{}", process.text());
            TcpStream::connect(("127.0.0.1", node.mqtt)).ok()
        });
        println!("node {number} listens");
    }

    /// Stops a node as a power cut would.
    fn kill_node(&mut self, number: usize) {
        let mut process = self.nodes[number].process.take().expect("the node runs");
        // The launcher is a shell script, and what it started would go on without it.
        let pid = process.pid();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let _ = Command::new("kill").arg("-9").args(children.split_whitespace()).status();
        process.kill9();
    }

    /// What the queue script says.
    fn queue(&self, what: &str, argument: &str) -> String {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let python = target.join("venv-amqp/bin/python");
        assert!(python.exists(), "{} is missing; tests/heavy/run makes it", python.display());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py/amqp/quorum.py");
        let port = self.nodes[0].amqp.to_string();
        Process::run_well("quorum.py", Command::new(python).arg(script).args([what, &port, argument]))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..3 {
            if self.nodes[number].process.is_some() {
                self.kill_node(number);
            }
        }
        let _ =
            Command::new(program("epmd")).env("ERL_EPMD_PORT", self.epmd.to_string()).arg("-kill").output();
    }
}

#[test]
#[ignore = "takes three RabbitMQ nodes and minutes; tests/heavy/run plays it"]
fn a_cluster_that_loses_a_node_and_then_its_majority_gets_every_reading() {
    const READINGS: usize = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path());
    cluster.queue("declare", &Gateway::topic("data.#").replace('/', "."));
    let [first, second, third] = [0, 1, 2].map(|number| cluster.nodes[number].mqtt);
    let sensor = Pty::open();
    let mut gateway = Gateway::start(
        &(json_device("scale", sensor.path())
            + &format!(
                "[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {first}\nfallback = \
         [\"127.0.0.1:{second}\", \"127.0.0.1:{third}\"]\nbackoff_min = \"100ms\"\nbackoff_max = \"1s\"\n\
         ack_timeout = \"5s\"\nkeep_alive = \"5s\"\n"
            )),
    );
    gateway.wait_online();
    let player = sensor.play(READINGS, 200, |number| format!(r#"{{"n":{number}}}"#));
    let place = |status: &serde_json::Value| {
        status["upstreams"][0]["address"].as_str().unwrap_or_default().to_owned()
    };
    gateway.wait_readings("scale", 1_000);

    let began = Instant::now();
    cluster.kill_node(0);
    let status = gateway.wait("it goes to another node", |status| {
        status["upstreams"][0]["state"] == "online" && !place(status).ends_with(&first.to_string())
    });
    println!("a node is gone: at {} after {:.1} s", place(&status), began.elapsed().as_secs_f64());

    cluster.kill_node(1);
    let before = gateway.ask("status")["upstreams"][0]["backlog"]["messages"].as_u64().unwrap();
    let status = gateway.wait("without a majority it keeps", |status| {
        status["upstreams"][0]["backlog"]["messages"].as_u64().unwrap() > before + 2_000
    });
    println!("no majority: {} messages wait", status["upstreams"][0]["backlog"]["messages"]);

    cluster.start_node(0);
    cluster.start_node(1);
    for number in 0..3 {
        cluster.wait_mqtt(number);
    }
    let began = Instant::now();
    player.finish();
    within(NODE_PATIENCE, "the backlog is empty", || {
        let status = gateway.ask("status");
        let upstream = &status["upstreams"][0];
        (upstream["state"] == "online" && upstream["backlog"]["messages"] == 0).then_some(())
    });
    println!("all are back: drained {:.1} s later", began.elapsed().as_secs_f64());

    let text = cluster.queue("drain", &READINGS.to_string());
    let mut numbers: Vec<usize> = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("MSG ")) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        numbers.push(json["values"]["n"].to_string().parse().unwrap());
    }
    let different: BTreeSet<usize> = numbers.iter().copied().collect();
    println!(
        "{READINGS} readings: {} lost, {} came twice",
        READINGS - different.len(),
        numbers.len() - different.len()
    );
    assert_eq!(different.len(), READINGS);
    let drops = gateway.ask("status")["upstreams"][0]["drops"].clone();
    assert!(drops.as_object().unwrap().values().all(|count| count == 0), "{drops:?}");
}

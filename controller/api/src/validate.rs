//! Rules that concern more than one field, or more than the form of one.

use std::collections::HashMap;

use crate::{
    Duration, Name, PluginInstance, PluginRuntime, PluginType, Problem, Quantity, Record,
    image::Tag,
    instance::{ActivationMode, PluginInstanceSpec},
    manifest::Rules,
    text::verify,
};
use environment::Reserved;

mod environment;

/// The bytes of a Unix socket's path: `sun_path` of 108, less the NUL at its end (unix(7)).
pub const MAX_SOCKET_PATH: usize = 107;

/// All annotations of a record together, as in Kubernetes.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// The least CPU time that runtimes can give: 1 ms of every 100 ms, the least quota of the kernel.
const LEAST_CPU_NANOS: i64 = 10_000_000;

/// The least memory that Docker gives to a container.
const LEAST_MEMORY: i64 = 6 << 20;

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The fields it is about, the one to look at first.
    pub(crate) fields: Vec<String>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// Which rules a record breaks. For a record that was read from a manifest, none; for one from elsewhere, or under
/// other `rules`, maybe some. The problems have no place.
pub fn validate(record: &Record, rules: &Rules) -> Vec<Problem> {
    findings(record, rules)
        .into_iter()
        .map(|finding| {
            let field = finding.fields.first().map_or("", String::as_str);
            let mut problem = Problem::new(finding.message).field(field);
            problem.help = finding.help;
            problem
        })
        .collect()
}

/// Which rules a record breaks.
pub(crate) fn findings(record: &Record, rules: &Rules) -> Vec<Finding> {
    let mut findings = Findings::default();
    annotations(record, &mut findings);
    match record {
        Record::Runtime(runtime) => {
            socket_directory(runtime, &mut findings);
            resources(runtime, &mut findings);
            log(runtime, &mut findings);
        }
        Record::Instance(instance) => {
            let spec = &instance.spec;
            handshake(spec, &mut findings);
            image(spec, &mut findings);
            command(spec, &mut findings);
            environment::env(spec, &mut findings);
            mounts(spec, &mut findings);
            sockets(instance, rules, &mut findings);
            durations(spec, &mut findings);
            standby(spec, &mut findings);
            hold(spec, &mut findings);
            priming(spec, &mut findings);
            environment::pass_env(spec, &mut findings);
        }
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

// === rules of every record ===

fn annotations(record: &Record, findings: &mut Findings) {
    let size: usize = record.metadata().annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        findings
            .add("metadata.annotations", format!("hold {size} bytes, at most {MAX_ANNOTATIONS} are allowed"))
            .help("keep less in them");
    }
}

// === rules of a runtime ===

/// The sockets of plugins lie below it, by names like `plugin1234567890`.
fn socket_directory(runtime: &PluginRuntime, findings: &mut Findings) {
    const LEAST_NAME: usize = "/plugin1234567890".len();
    let Some(directory) = &runtime.spec.engine.socket_directory else { return };
    let length = directory.as_str().trim_end_matches('/').len() + LEAST_NAME;
    if length > MAX_SOCKET_PATH {
        findings
            .add(
                "spec.engine.socketDirectory",
                format!(
                    "is too long for a socket path: the path of a socket in it has {length} bytes, at most {MAX_SOCKET_PATH} are possible"
                ),
            )
            .help("use a shorter one, like /run/user/1000/plugward");
    }
}

fn resources(runtime: &PluginRuntime, findings: &mut Findings) {
    let resources = &runtime.spec.resources;
    if let Some(cpu) = resources.cpu {
        match cpu.nanos() {
            Some(LEAST_CPU_NANOS..) => {}
            None => findings.add("spec.resources.cpu", format!("{cpu} is more than any machine has")).done(),
            Some(_) => findings
                .add("spec.resources.cpu", format!("{cpu} is too little, the least is 10m"))
                .help("500m is half a CPU"),
        }
    }
    if let Some(memory) = resources.memory {
        let field = "spec.resources.memory";
        if whole_bytes(field, memory, findings) && memory < Quantity::bytes(LEAST_MEMORY) {
            findings.add(field, format!("{memory} is too little, the least is 6Mi")).done();
        }
    }
}

fn log(runtime: &PluginRuntime, findings: &mut Findings) {
    positive_bytes("spec.log.maxSize", runtime.spec.log.max_size, findings);
}

fn positive_bytes(field: &str, bytes: Quantity, findings: &mut Findings) {
    if whole_bytes(field, bytes, findings) && !bytes.is_positive() {
        findings.add(field, format!("{bytes} is too little, it must be more than 0")).done();
    }
}

/// A fraction of a byte is nearly always an `m`, milli, that was meant as `M`, mega.
fn whole_bytes(field: &str, bytes: Quantity, findings: &mut Findings) -> bool {
    if bytes.is_whole() {
        return true;
    }
    let text = bytes.to_string();
    let finding = findings.add(field, format!("{text} is not a whole number of bytes"));
    match text.strip_suffix('m') {
        Some(number) => finding.help(format!("m is milli, a thousandth: write {number}M or {number}Mi")),
        None => finding.done(),
    }
    false
}

// === rules of an instance ===

fn handshake(spec: &PluginInstanceSpec, findings: &mut Findings) {
    let plugin_type = spec.plugin.plugin_type;
    match &spec.handshake {
        None if plugin_type == PluginType::Custom => findings
            .add("spec.handshake", "is required for type custom, and is not there")
            .and("spec.plugin.type")
            .help("write cookieKey, cookieValue and protocolVersions as the plugin has them in its HandshakeConfig"),
        Some(_) if plugin_type != PluginType::Custom => findings
            .add("spec.handshake", format!("plugins of type {plugin_type} have a handshake of their own"))
            .and("spec.plugin.type")
            .help("remove it, or write type: custom"),
        Some(handshake) => {
            if let Some(Reserved { reason, .. }) = environment::reserved(&handshake.cookie_key, plugin_type) {
                findings
                    .add("spec.handshake.cookieKey", format!("{:?} cannot be a cookie: {reason}", handshake.cookie_key))
                    .done();
            }
            if handshake.cookie_value.contains('\0') {
                nul("spec.handshake.cookieValue", findings);
            }
        }
        None => {}
    }
}

/// The tag that stands in for a missing one must be a tag.
fn image(spec: &PluginInstanceSpec, findings: &mut Findings) {
    let tag = spec.image.tag_for(&spec.plugin.version);
    if spec.image.tag.is_none() && verify::<Tag>(tag).is_err() {
        findings
            .add("spec.image", format!("has no tag, and the version {:?} cannot be one", spec.plugin.version))
            .and("spec.plugin.version")
            .and("spec.image.tag")
            .help("write the tag of the image under tag");
    }
}

fn command(spec: &PluginInstanceSpec, findings: &mut Findings) {
    if spec.command.first().is_some_and(String::is_empty) {
        findings.add("spec.command[0]", "is empty, and is the program to run").help("name the program");
    }
    for (name, words) in [("command", &spec.command), ("args", &spec.args)] {
        for (index, _) in words.iter().enumerate().filter(|(_, word)| word.contains('\0')) {
            nul(&format!("spec.{name}[{index}]"), findings);
        }
    }
}

fn nul(field: &str, findings: &mut Findings) {
    findings.add(field, "holds a NUL character, which no program can be given").done();
}

fn mounts(spec: &PluginInstanceSpec, findings: &mut Findings) {
    if spec.mounts.is_empty() && !spec.attach.enabled {
        findings
            .add("spec.mounts", "is empty, so that no host can reach the plugin")
            .and("spec.attach.enabled")
            .help("name a mount, like mounts: [{ name: main }], or enable attach");
    }
    let mut seen: HashMap<&Name, usize> = HashMap::new();
    for (index, mount) in spec.mounts.iter().enumerate() {
        let first = *seen.entry(&mount.name).or_insert(index);
        if first != index {
            findings
                .add(
                    &format!("spec.mounts[{index}].name"),
                    format!("the mount {:?} is there twice", mount.name),
                )
                .and(&format!("spec.mounts[{first}].name"))
                .help(format!("rename or remove one of them: first as spec.mounts[{first}]"));
        }
    }
}

/// A Unix socket's path must fit into what the kernel has for it.
fn sockets(instance: &PluginInstance, rules: &Rules, findings: &mut Findings) {
    let Some(directory) = &rules.mount_socket_directory else { return };
    for (index, mount) in instance.spec.mounts.iter().enumerate() {
        let path = directory.join(instance.metadata.name.as_str()).join(format!("{}.sock", mount.name));
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            findings
                .add(
                    &format!("spec.mounts[{index}].name"),
                    format!(
                        "the path of its socket has {length} bytes, at most {MAX_SOCKET_PATH} are possible: {}",
                        path.display()
                    ),
                )
                .and("metadata.name")
                .help("shorten the name of the instance, of the mount, or the run directory");
        }
    }
}

fn durations(spec: &PluginInstanceSpec, findings: &mut Findings) {
    let positive = [
        ("spec.startTimeout", spec.start_timeout),
        ("spec.activation.idleTimeout", spec.activation.idle_timeout),
        ("spec.restart.initialBackoff", spec.restart.initial_backoff),
        ("spec.restart.maxBackoff", spec.restart.max_backoff),
        ("spec.restart.resetAfter", spec.restart.reset_after),
        ("spec.probe.period", spec.probe.period),
        ("spec.probe.timeout", spec.probe.timeout),
    ];
    for (field, duration) in positive {
        if !duration.is_positive() {
            findings.add(field, format!("is {duration}, it must be more than 0")).done();
        }
    }
    let not_negative =
        [("spec.update.drainTimeout", spec.update.drain_timeout), ("spec.hold.timeout", spec.hold.timeout)];
    for (field, duration) in not_negative {
        if duration.is_negative() {
            findings.add(field, format!("is {duration}, it must not be negative")).help("0s is none");
        }
    }
    backoff(spec.restart.initial_backoff, spec.restart.max_backoff, findings);
}

fn backoff(initial: Duration, max: Duration, findings: &mut Findings) {
    if initial > max && max.is_positive() {
        findings
            .add("spec.restart.initialBackoff", format!("is {initial}, longer than maxBackoff, {max}"))
            .and("spec.restart.maxBackoff")
            .help("the first wait is the shortest: lower it, or raise maxBackoff");
    }
}

fn standby(spec: &PluginInstanceSpec, findings: &mut Findings) {
    if spec.standby > 0 && spec.activation.mode == ActivationMode::OnDemand {
        findings
            .add("spec.standby", "spare containers run always, and OnDemand means that none runs when idle")
            .and("spec.activation.mode")
            .help("write standby: 0, or mode: Eager");
    }
}

fn hold(spec: &PluginInstanceSpec, findings: &mut Findings) {
    positive_bytes("spec.hold.maxBytes", spec.hold.max_bytes, findings);
}

fn priming(spec: &PluginInstanceSpec, findings: &mut Findings) {
    let plugin_type = spec.plugin.plugin_type;
    if plugin_type != PluginType::Custom && !spec.priming.is_empty() {
        findings
            .add("spec.priming", format!("plugins of type {plugin_type} have a priming of their own"))
            .and("spec.plugin.type")
            .help("remove it");
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, priming) in spec.priming.iter().enumerate() {
        let first = *seen.entry(&priming.method).or_insert(index);
        if first != index {
            findings
                .add(
                    &format!("spec.priming[{index}].method"),
                    format!("the method {:?} is there twice", priming.method),
                )
                .and(&format!("spec.priming[{first}].method"))
                .help(format!("remove one of them: first as spec.priming[{first}]"));
        }
        if priming.until.as_ref() == Some(&priming.method) {
            findings
                .add(&format!("spec.priming[{index}].until"), "is the method that it undoes")
                .and(&format!("spec.priming[{index}].method"))
                .help("name the method that ends it, or remove until");
        }
    }
}

// === impl Findings ===

impl Findings {
    fn add(&mut self, field: &str, message: impl Into<String>) -> Unfinished<'_> {
        let finding = Finding { fields: vec![field.to_owned()], message: message.into(), help: None };
        Unfinished { finding, findings: self }
    }
}

/// A finding that may say more.
#[must_use = "a finding counts when it is done"]
struct Unfinished<'a> {
    finding: Finding,
    findings: &'a mut Findings,
}

impl Unfinished<'_> {
    /// The rule read this field too.
    fn and(mut self, field: &str) -> Self {
        self.finding.fields.push(field.to_owned());
        self
    }

    /// The rule read this field too, if any.
    fn and_maybe(self, field: Option<&str>) -> Self {
        match field {
            Some(field) => self.and(field),
            None => self,
        }
    }

    /// Says what to do, and is done.
    fn help(mut self, help: impl Into<String>) {
        self.finding.help = Some(help.into());
        self.done();
    }

    fn done(self) {
        self.findings.0.push(self.finding);
    }
}

#[cfg(test)]
mod tests;

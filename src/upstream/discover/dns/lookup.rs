//! One lookup of one name: all its addresses, of both families.
//!
//! In: a name as the user wrote it. Out: sorted addresses and how long they may be believed, or why
//! there are none. The search list is walked here and not by the library, because both families must
//! come from the same full name, and because a name server that is silent about the first full name
//! must not lead to another name that happens to exist.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::hosts::Hosts;

/// How long an answer of `/etc/hosts` is believed; the file is read again only if it changed.
const HOSTS_TTL: Duration = Duration::from_secs(5);

/// How long an answer is believed that lacks a family because its question failed.
const PARTIAL_TTL: Duration = Duration::from_secs(5);

/// Where glibc asks when nothing is configured.
const SERVER_OF_LAST_RESORT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 53);

/// Waits for name servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// For one question to one server.
    pub(super) per_try: Duration,
    /// Times each question is asked.
    pub(super) tries: u32,
    /// When one family has addresses, the other is waited for this much longer. Some servers never
    /// answer questions for AAAA.
    pub(super) other_family: Duration,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Every address, sorted, IPv4 first.
    pub(super) addresses: Vec<SocketAddr>,
    /// How long it may be believed.
    pub(super) ttl: Duration,
}

/// Why there is no address.
/// In the order of what they tell: of two families' failures the later one counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// The name is none, or does not exist.
    NoSuchName,
    /// The name exists and has no address: a service none of whose instances is ready.
    NoAddress,
    /// A server answered that it can't tell.
    ServerFailed(String),
    /// No server gave an answer.
    NoAnswer(String),
}

/// Asks name servers.
#[derive(Debug)]
pub(super) struct Lookup {
    resolver: TokioResolver,
    /// Domains that a name with fewer dots than `ndots` is tried in first.
    pub(super) search: Vec<Name>,
    /// A name with so many dots is tried as it is first.
    pub(super) ndots: usize,
    pub(super) hosts: Hosts,
    timing: Timing,
}

/// Addresses of one family, and the shortest TTL of the answer.
type Family = Result<(Vec<IpAddr>, Duration), Failure>;

// === impl Timing ===

impl Default for Timing {
    fn default() -> Self {
        let (per_try, other_family) = (Duration::from_secs(2), Duration::from_millis(300));
        Self { per_try, tries: 2, other_family }
    }
}

// === impl Failure ===

impl Failure {
    /// Whether a name server knows so, and not only failed to tell.
    pub(super) fn is_an_answer(&self) -> bool {
        match self {
            Self::NoSuchName | Self::NoAddress => true,
            Self::ServerFailed(_) | Self::NoAnswer(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => f.write_str("no such name"),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::ServerFailed(error) => write!(f, "the name server failed: {error}"),
            Self::NoAnswer(error) => write!(f, "no answer: {error}"),
        }
    }
}

// === impl Lookup ===

impl Lookup {
    /// Asks `servers`, or those of `/etc/resolv.conf`.
    pub(super) fn new(servers: &[SocketAddr], timing: Timing) -> io::Result<Self> {
        let (system, mut options) = system()?;
        let name_servers = if servers.is_empty() {
            system.name_servers().to_vec()
        } else {
            servers.iter().copied().map(name_server).collect()
        };
        // Bounds of our own in any case: resolv.conf's 5 s and more are longer than most deadlines.
        options.timeout = options.timeout.min(timing.per_try);
        // The library counts tries after the first.
        options.attempts = timing.tries.saturating_sub(1) as usize;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // Two questions for each lookup; its own bound would turn the rest away.
        options.max_active_requests = super::LOOKUPS_MAX * 2;
        options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
        let ndots = options.ndots;
        let search = match (system.search(), system.domain()) {
            ([], Some(domain)) => vec![domain.clone()],
            (search, _) => search.to_vec(),
        };
        let config = ResolverConfig::from_parts(None, Vec::new(), name_servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.with_options(options).build().map_err(io::Error::other)?;
        Ok(Self { resolver, search, ndots, hosts: Hosts::new("/etc/hosts"), timing })
    }

    /// The search list, without trailing dots.
    pub(super) fn search(&self) -> Vec<String> {
        let text = |name: &Name| name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        self.search.iter().map(text).filter(|domain| !domain.is_empty()).collect()
    }

    /// Every address of `name`.
    pub(super) async fn addresses(&self, name: &str, port: u16) -> Result<Answer, Failure> {
        let mut ips = self.hosts.addresses(name);
        let mut ttl = HOSTS_TTL;
        if ips.is_empty() {
            (ips, ttl) = self.ask_for(name).await?;
        }
        // `IpAddr` sorts IPv4 first.
        ips.sort_unstable();
        ips.dedup();
        Ok(Answer { addresses: ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(), ttl })
    }

    async fn ask_for(&self, name: &str) -> Family {
        let mut failure = Failure::NoSuchName;
        for full in self.full_names(name)? {
            match self.both_families(&full).await {
                Err(Failure::NoSuchName) => {}
                Err(Failure::NoAddress) if failure == Failure::NoSuchName => failure = Failure::NoAddress,
                Err(Failure::NoAddress) => {}
                // A domain of the search list whose server is broken says nothing of the next one.
                Err(failed @ Failure::ServerFailed(_)) => failure = failed,
                found @ (Ok(_) | Err(Failure::NoAnswer(_))) => return found,
            }
        }
        Err(failure)
    }

    /// The names to try, best first, as `resolv.conf(5)` has it.
    fn full_names(&self, name: &str) -> Result<Vec<Name>, Failure> {
        let parsed = Name::from_str_relaxed(name).map_err(|_| Failure::NoSuchName)?;
        let mut itself = parsed.clone();
        itself.set_fqdn(true);
        if parsed.is_fqdn() || parsed.is_localhost() {
            return Ok(vec![itself]);
        }
        let dots = usize::from(parsed.num_labels()).saturating_sub(1);
        // A name that gets too long in a domain is none there.
        let mut names: Vec<Name> =
            self.search.iter().filter_map(|domain| parsed.clone().append_domain(domain).ok()).collect();
        let place = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(place, itself);
        Ok(names)
    }

    /// A and AAAA of one full name, at once.
    async fn both_families(&self, name: &Name) -> Family {
        let (found_v4, found_v6) = (Notify::new(), Notify::new());
        let (v4, v6) = tokio::join!(
            self.family(self.ask(name, RecordType::A), &found_v4, &found_v6),
            self.family(self.ask(name, RecordType::AAAA), &found_v6, &found_v4),
        );
        match (v4, v6) {
            (Ok((mut ips, ttl)), Ok((more, other_ttl))) => {
                ips.extend(more);
                Ok((ips, ttl.min(other_ttl)))
            }
            (Ok((ips, ttl)), Err(other)) | (Err(other), Ok((ips, ttl))) => {
                let whole = other.is_an_answer();
                Ok((ips, if whole { ttl } else { ttl.min(PARTIAL_TTL) }))
            }
            // One family is not there and the other is not known: not known.
            (Err(one), Err(other)) => Err(if one < other { other } else { one }),
        }
    }

    /// One family's answer, cut short some time after the other one has addresses.
    async fn family(
        &self,
        ask: impl Future<Output = Family>,
        found: &Notify,
        other_found: &Notify,
    ) -> Family {
        let too_late = async {
            other_found.notified().await;
            sleep(self.timing.other_family).await;
        };
        // The question may be dropped: its answer is then nobody's.
        tokio::select! {
            answer = ask => {
                if answer.is_ok() {
                    found.notify_one();
                }
                answer
            }
            () = too_late => Err(Failure::NoAnswer("the other family has an answer for long".to_owned())),
        }
    }

    async fn ask(&self, name: &Name, record_type: RecordType) -> Family {
        // The library's own bounds are per server and transport; this one is for the question.
        let longest = self.timing.per_try * (self.timing.tries + 1);
        let lookup = timeout(longest, self.resolver.lookup(name.clone(), record_type));
        let lookup = lookup.await.unwrap_or(Err(NetError::Timeout)).map_err(|error| failure(&error))?;
        let answers = lookup.answers();
        let ips: Vec<IpAddr> = answers.iter().filter_map(|record| record.data.ip_addr()).collect();
        // Of aliases too: the shortest-lived link decides.
        let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or_default();
        if ips.is_empty() { Err(Failure::NoAddress) } else { Ok((ips, Duration::from_secs(ttl.into()))) }
    }
}

fn failure(error: &NetError) -> Failure {
    if error.is_nx_domain() {
        Failure::NoSuchName
    } else if error.is_no_records_found() {
        Failure::NoAddress
    } else if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        Failure::ServerFailed(code.to_string())
    } else {
        Failure::NoAnswer(error.to_string())
    }
}

/// What `/etc/resolv.conf` says; without the file, what glibc does then.
fn system() -> io::Result<(ResolverConfig, ResolverOpts)> {
    if !std::path::Path::new("/etc/resolv.conf").exists() {
        let config = ResolverConfig::from_name_servers(vec![name_server(SERVER_OF_LAST_RESORT)]);
        return Ok((config, ResolverOpts::default()));
    }
    read_system_conf().map_err(io::Error::other)
}

/// A server asked over UDP, and over TCP for what is too large for that.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

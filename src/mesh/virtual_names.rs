//! Addresses that stand for names, for applications whose DNS is ours.
//!
//! In: host names that services claim. Out: one address of 240.0.0.0/4 each (RFC 1112 section 4,
//! reserved: nobody's calls go there), for as long as the process runs, and the way back.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::Mesh;

/// The first address of the block.
const FIRST: u32 = 0xf000_0000;

/// Most names that get one. Only names of the configuration do, so reloads alone can use them up.
const NAMES_MAX: usize = 1 << 16;

/// Which address stands for which name.
#[derive(Debug, Default)]
pub struct VirtualNames(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

// === impl VirtualNames ===

impl VirtualNames {
    /// The name that `ip` stands for.
    pub fn name_of(&self, ip: IpAddr) -> Option<Arc<str>> {
        let IpAddr::V4(ip) = ip.to_canonical() else { return None };
        let number = u32::from(ip).checked_sub(FIRST + 1)?;
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.names.get(usize::try_from(number).ok()?).cloned()
    }

    /// The address of `name`, the same one every time. `None`: there are too many already.
    fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match table.numbers.get(name) {
            Some(number) => *number,
            None if table.names.len() >= NAMES_MAX => return None,
            None => {
                let number = u32::try_from(table.names.len()).ok()?;
                let name: Arc<str> = Arc::from(name);
                table.numbers.insert(Arc::clone(&name), number);
                table.names.push(name);
                number
            }
        };
        Some(Ipv4Addr::from(FIRST + 1 + number))
    }
}

// === impl Mesh ===

impl Mesh {
    /// The address that stands for `host`. `None`: no service claims it.
    pub fn virtual_address(&self, host: &str) -> Option<Ipv4Addr> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if !self.snapshot().router.claims(&host) {
            return None;
        }
        self.virtual_names.address_of(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_the_address_leads_back() {
        let names = VirtualNames::default();
        let cart = names.address_of("cart").unwrap();
        assert_eq!(cart, Ipv4Addr::new(240, 0, 0, 1));
        assert_eq!(names.address_of("orders").unwrap(), Ipv4Addr::new(240, 0, 0, 2));
        assert_eq!(names.address_of("cart").unwrap(), cart);
        assert_eq!(names.name_of(cart.into()).as_deref(), Some("cart"));
        for unknown in ["240.0.0.0", "240.0.0.3", "10.0.0.1", "::1"] {
            assert_eq!(names.name_of(unknown.parse().unwrap()), None, "{unknown}");
        }
    }
}

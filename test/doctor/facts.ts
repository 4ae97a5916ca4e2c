/** A healthy host with an uplink and a port, for tests to make ill. */

import type { MacAddress } from '../../protocols/octets/index.ts';
import type { Link } from '../../protocols/rtnetlink/index.ts';
import { parseConfig } from '../../src/config/config.ts';
import type { DaemonFact, Facts, LinkFacts } from '../../src/doctor/facts.ts';
import type { LinkStatus, SlaveStatus } from '../../src/model.ts';

export const UPLINK_MAC = '02:00:00:00:00:01' as MacAddress;

export const CONFIG = `
uplinks: { eth1: { slaves: auto } }
ports: { swp1: { enforce: on } }
profiles: { web: { manager: 1, type: 1, type-version: 1, vlan: 10 } }
rules: [{ match: { mac: "52:54:00:*" }, profile: web }]
`;

export function link(index: number, name: string, more: Partial<Link> = {}): Link {
  const mac = `02:00:00:00:00:0${index}` as MacAddress;
  return { index, name, mac, mtu: 1500, up: true, running: true, lowerUp: true, ...more };
}

export const bridgePort: NonNullable<Link['bridgePort']> = {
  state: 'forwarding',
  hairpin: true,
  learning: false,
  flood: true,
  mcastFlood: true,
  bcastFlood: true,
  guard: false,
  rootBlock: false,
  isolated: false,
  neighSuppress: false,
  proxyArp: false,
  groupForwardMask: 0,
  locked: true,
};

export function status(name: string, more: Partial<LinkStatus> = {}): LinkStatus {
  return {
    name,
    role: name === 'swp1' ? 'bridge' : 'station',
    mac: UPLINK_MAC,
    protocol: 'ratified',
    relay: 'active',
    relayReason: 'the bridge reflects',
    leak: 'none',
    leakReason: '',
    members: [],
    peer: { chassisId: 'sw', systemName: 'switch', mac: '02:00:00:00:00:99' },
    timers: {},
    counters: { statsFramesInTotal: 3 },
    slaves: [],
    ...more,
  };
}

export function slave(name: string, more: Partial<SlaveStatus> = {}): SlaveStatus {
  return {
    name,
    kind: 'macvtap',
    mode: 'vepa',
    mac: '52:54:00:00:00:01',
    vlan: 0,
    namespace: -1,
    vsi: 'a-vsi',
    reason: '',
    ...more,
  };
}

const groups = { addresses: ['01:80:c2:00:00:00', '01:80:c2:00:00:03', '01:80:c2:00:00:0e'] };

export function uplink(more: Partial<LinkFacts> = {}): LinkFacts {
  const { uplinks } = parseConfig(CONFIG, 'test');
  return {
    name: 'eth1',
    role: 'station',
    configured: true,
    uplink: uplinks['eth1']!,
    status: status('eth1'),
    link: link(1, 'eth1', { mac: UPLINK_MAC }),
    siblings: [],
    firmware: { agent: 'none' },
    groups,
    ipv6: { enabled: true, enhancedDad: true, duplicate: false },
    agents: { found: [] },
    slaves: [],
    ...more,
  };
}

export function port(more: Partial<LinkFacts> = {}): LinkFacts {
  const { ports } = parseConfig(CONFIG, 'test');
  return {
    ...uplink(),
    name: 'swp1',
    role: 'bridge',
    port: ports['swp1']!,
    status: status('swp1'),
    link: link(2, 'swp1', { master: 3, bridgePort }),
    master: bridge(0),
    ...more,
  };
}

export function bridge(stpState: number, more: Partial<Link> = {}): Link {
  return link(3, 'br0', {
    kind: 'bridge',
    bridge: { stpState, vlanFiltering: false, groupForwardMask: 0 },
    ...more,
  });
}

export const ALL = { raw: true, admin: true, broadcast: true, system: true };

export const daemon: DaemonFact & { running: true } = {
  running: true,
  pid: 7,
  version: '0.1.0',
  bus: 'the system bus',
  elsewhere: false,
  capabilities: ALL,
  age: 60,
  file: '/etc/evbd/evbd.yaml',
  links: [status('eth1'), status('swp1')],
  vsis: [],
};

export function facts(more: Partial<Facts> = {}): Facts {
  return {
    node: '22.1.0',
    kernelRelease: '6.1.0',
    programs: { evbctl: 'evbctl', evbd: 'evbd' },
    busOption: '',
    evbctl: 'evbctl',
    doctor: 'evbctl doctor',
    file: '/etc/evbd/evbd.yaml',
    configuration: { config: parseConfig(CONFIG, 'test') },
    unit: true,
    root: true,
    capabilities: ALL,
    daemon,
    interfaces: { links: [link(1, 'eth1'), link(2, 'swp1'), bridge(0)] },
    links: [uplink(), port()],
    ...more,
  };
}

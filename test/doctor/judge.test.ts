/** Each check, row by row: what is found, and what mends it. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/config.ts';
import type { Agent, DaemonFact, Facts, LinkFacts } from '../../src/doctor/facts.ts';
import type { Finding } from '../../src/doctor/findings.ts';
import { judge } from '../../src/doctor/judge.ts';
import { quoted } from '../../src/shell.ts';
import {
  ALL,
  bridge,
  bridgePort,
  daemon,
  facts,
  link,
  port,
  slave,
  status,
  UPLINK_MAC,
  uplink,
} from './facts.ts';

type Row = [what: string, facts: Facts, check: string, text: string, mend: string];

const mendOf = ({ mend }: Finding) => (mend === undefined ? '' : 'run' in mend ? `$ ${mend.run}` : mend.do);

/** The finding is there, says this, and nothing else is worse than information. */
function expectFound(given: Facts, check: string, text: string, mend: string): void {
  const [result, name, about = ''] = check.split(' ');
  const bad = judge(given).filter((finding) => !['ok', 'info'].includes(finding.result));
  const found = judge(given).filter((finding) => finding.name === name && finding.link === about);
  expect(found.map((finding) => [finding.result, finding.text])).toContainEqual([
    result,
    expect.stringContaining(text),
  ]);
  const one = found.find((finding) => finding.text.includes(text))!;
  if (mend === '') expect(one.mend).toBeUndefined();
  else expect(mendOf(one)).toContain(mend);
  const others = bad.filter((finding) => finding !== one && finding.name !== name);
  // Where none runs, that is told besides.
  expect(others.filter((finding) => finding.name !== 'daemon')).toEqual([]);
}

const withLink = (more: LinkFacts, others: Partial<Facts> = {}) => facts({ links: [more], ...others });
const configured = (text: string) => ({ configuration: { config: parseConfig(text, 'test') } });
const down: DaemonFact = { running: false, reason: 'evbd is not on the system bus; start evbd' };
const uplinkConfig = (text: string) => parseConfig(`uplinks: { eth1: ${text} }`, 'test').uplinks['eth1']!;
const portConfig = (text: string) => parseConfig(`ports: { swp1: ${text} }`, 'test').ports['swp1']!;
const agent = (more: Partial<Agent>): LinkFacts['agents'] => ({
  found: [{ program: 'other', name: 'x', pid: 9, ecp: false, ...more }],
});
const silent = (counters: Record<string, number>, more: Partial<LinkFacts> = {}) =>
  uplink({
    status: status('eth1', { peer: {}, relay: 'no-peer', relayReason: 'no EVB peer heard yet', counters }),
    ...more,
  });

it('a healthy host has no problem, no warning and nothing unknown', () => {
  const found = judge(facts());
  expect(found.filter(({ result }) => result !== 'ok')).toEqual([]);
  const names = new Set(found.map(({ name }) => name));
  for (const name of ['node', 'configuration', 'daemon', 'permissions', 'interface', 'uplink', 'lldp-agent'])
    expect(names).toContain(name);
});

/** As after `npm run build`, and with --bus. */
const uninstalled: Partial<Facts> = {
  programs: { evbctl: "/usr/bin/node '/o p/evbctl.js'", evbd: "/usr/bin/node '/o p/evbd.js'" },
  busOption: ' --bus unix:path=/b',
  evbctl: "/usr/bin/node '/o p/evbctl.js' --bus unix:path=/b",
  doctor: "/usr/bin/node '/o p/evbctl.js' --bus unix:path=/b doctor",
};

it('whatever it tells to call, it calls as it was called', () => {
  const ill: Partial<Facts>[] = [
    { daemon: { ...daemon, links: [status('eth1'), status('old')] } },
    { daemon: { ...daemon, file: '/x.yaml', links: [] } },
    { daemon: { ...daemon, elsewhere: true } },
    { configuration: { problems: ['f:1:2: a: unknown key'] } },
    { configuration: { unknown: 'no permission' }, root: false },
    { daemon: down, unit: false },
    { daemon: { ...down, process: { pid: 4, bus: 'x:' } } },
    { links: [{ ...uplink(), name: 'eth3', configured: false, status: undefined as never }] },
    { links: [uplink({ status: status('eth1', { counters: { framesOverRate: 5 } }) })] },
    { links: [uplink({ status: status('eth1', { relay: 'assumed', relayReason: 'assumed' }) })] },
    { links: [uplink({ slaves: [slave('tap0', { vsi: '' })], uplink: uplinkConfig('{}') })] },
    {
      links: [port({ link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, isolated: true } }) })],
    },
  ];
  const mends = ill.flatMap((more) => judge(facts({ ...more, ...uninstalled })).map(mendOf));
  const text = mends.join('\n');
  expect(text.match(/evbctl\.js' --bus/g)!.length).toBeGreaterThan(8);
  expect(text).not.toMatch(/evbctl\.js' (?!--bus)/);
  expect(text).not.toMatch(/(?<!\/)\b(evbctl|evbd) [a-z-]/);
});

const HOST: Row[] = [
  ['an old Node', facts({ node: '18.19.0' }), 'problem node', '18.19.0', 'install Node.js'],
  [
    'no file',
    facts({ configuration: { missing: true }, daemon: down, links: [] }),
    'problem configuration',
    'there is no /etc/evbd/evbd.yaml',
    'uplinks: { eth1: {} }',
  ],
  [
    'no file, but evbd has another',
    facts({ configuration: { missing: true }, daemon: { ...daemon, file: '/x y.yaml' } }),
    'warning configuration',
    'evbd runs with "/x y.yaml"',
    "$ evbctl doctor --config '/x y.yaml'",
  ],
  [
    'no file where evbd has read one',
    facts({ configuration: { missing: true }, file: '/x.yaml', daemon: { ...daemon, file: '/x.yaml' } }),
    'warning configuration',
    'there is no /x.yaml, with which evbd runs',
    'put it back',
  ],
  [
    'a file that may not be read',
    facts({ configuration: { unknown: 'no permission to read it' }, root: false }),
    'unknown configuration',
    'no permission',
    '$ sudo evbctl doctor',
  ],
  [
    'a broken file',
    facts({ configuration: { problems: ['f:1:2: a: unknown key'] } }),
    'problem configuration',
    'f:1:2: a: unknown key',
    'evbd --check',
  ],
  [
    'a very broken file',
    facts({ configuration: { problems: Array.from({ length: 9 }, (_, i) => `f:${i}:1: no`) } }),
    'problem configuration',
    '4 more',
    '',
  ],
  [
    'an empty file',
    facts({ ...configured(''), links: [], daemon: { ...daemon, links: [] } }),
    'warning configuration',
    'names no uplink and no port',
    'uplinks: { eth1: {} }',
  ],
  [
    'a file that evbd has not read again',
    facts({ daemon: { ...daemon, links: [status('eth1'), status('old')] } }),
    'warning configuration',
    'does not know swp1 and still has old',
    '$ evbctl reload',
  ],
  [
    'another file than that of evbd',
    facts({ daemon: { ...daemon, file: '/b.yaml', links: [status('eth1')] } }),
    'warning configuration',
    'evbd runs with /b.yaml',
    '$ evbctl doctor --config /b.yaml',
  ],
  [
    'no daemon, a unit',
    facts({ daemon: down, links: [] }),
    'problem daemon',
    'evbd is not on the system bus',
    '$ systemctl start evbd',
  ],
  [
    'no daemon, no unit, no root',
    facts({ daemon: down, unit: false, root: false, links: [] }),
    'problem daemon',
    'evbd is not on the system bus',
    '$ sudo evbd --config /etc/evbd/evbd.yaml',
  ],
  [
    'no daemon, programs that are in no PATH, a bus of its own',
    facts({ daemon: down, unit: false, links: [], ...uninstalled }),
    'problem daemon',
    'evbd is not on the system bus',
    "$ /usr/bin/node '/o p/evbd.js' --config /etc/evbd/evbd.yaml --bus unix:path=/b",
  ],
  [
    'no bus',
    facts({ daemon: { running: false, reason: 'bus x: no socket is there; start the bus' }, links: [] }),
    'problem daemon',
    'no socket is there',
    'start the bus',
  ],
  [
    'a bus that does not know evbd',
    facts({ daemon: down, links: [], policy: { installed: false, file: '/x y/org.evbd1.conf' } }),
    'problem bus-policy',
    'lets nobody own org.evbd1',
    "$ install -D -m 644 '/x y/org.evbd1.conf' /usr/share/dbus-1/system.d/org.evbd1.conf",
  ],
  [
    'a daemon on another bus',
    facts({ daemon: { ...down, process: { pid: 4, bus: 'unix:path=/a b' } }, links: [] }),
    'problem daemon',
    'process 4 is evbd with --bus "unix:path=/a b"',
    "$ evbctl --bus 'unix:path=/a b' doctor",
  ],
  [
    'a daemon on none',
    facts({ daemon: { ...down, process: { pid: 4, bus: 'none' } }, links: [] }),
    'problem daemon',
    'process 4',
    'instead of --bus none',
  ],
  [
    'what only calls itself evbd',
    facts({ daemon: { ...down, stranger: 4 }, links: [] }),
    'info daemon',
    'process 4 calls itself evbd',
    '',
  ],
  [
    'a daemon of somebody else in another network namespace',
    facts({
      daemon: { ...daemon, elsewhere: true, foreign: true },
      links: [uplink({ agents: { unknown: 'x' } })],
    }),
    'unknown namespace',
    'another network namespace',
    '',
  ],
  [
    'a daemon in another network namespace',
    facts({ daemon: { ...daemon, elsewhere: true }, links: [uplink({ agents: { unknown: 'x' } })] }),
    'unknown namespace',
    'another network namespace',
    '$ nsenter --net=/proc/7/ns/net evbctl doctor',
  ],
  [
    'evbd without the rights for other namespaces',
    facts({ daemon: { ...daemon, capabilities: { ...ALL, broadcast: false } } }),
    'warning permissions',
    'lacks CAP_NET_BROADCAST',
    'AmbientCapabilities=',
  ],
  [
    'evbd without the rights for slaves elsewhere',
    withLink(uplink(), {
      ...configured('uplinks: { eth1: { when-relay-refused: bridge } }'),
      daemon: { ...daemon, capabilities: { ...ALL, system: false }, links: [status('eth1')] },
    }),
    'warning permissions',
    'lacks CAP_SYS_ADMIN',
    'AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN CAP_SYS_ADMIN',
  ],
  [
    'evbd without any rights',
    facts({
      daemon: { ...daemon, capabilities: { raw: false, admin: false, broadcast: false, system: false } },
    }),
    'problem permissions',
    'evbd cannot work: CAP_NET_RAW and CAP_NET_ADMIN are missing',
    'AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN CAP_NET_BROADCAST',
  ],
  [
    'evbd whose rights are not to be seen',
    facts({ daemon: { ...daemon, capabilities: { unknown: 'not from here' } } }),
    'unknown permissions',
    'not from here',
    '',
  ],
];

describe('the host', () => {
  it.each(HOST)('%s', (_what, given, check, text, mend) => expectFound(given, check, text, mend));

  it('a user without rights, where no evbd runs', () => {
    const given = facts({
      daemon: down,
      root: false,
      capabilities: { raw: false, admin: false, broadcast: false, system: false },
      links: [],
    });
    const found = judge(given).find(({ name }) => name === 'permissions')!;
    expect([found.result, found.text]).toEqual([
      'problem',
      'this user cannot run evbd: CAP_NET_RAW and CAP_NET_ADMIN are missing',
    ]);
    expect(mendOf(found)).toBe('$ sudo evbctl doctor');
    const inContainer = judge({ ...given, root: true }).find(({ name }) => name === 'permissions')!;
    expect(mendOf(inContainer)).toContain('--cap-add NET_RAW');
  });

  it('asks for no more rights than the configuration needs', () => {
    const little = { raw: true, admin: false, broadcast: false, system: false };
    const given = facts({
      ...configured('uplinks: { eth1: {} }'),
      links: [uplink()],
      daemon: { ...daemon, capabilities: little, links: [status('eth1')] },
    });
    expect(judge(given).filter(({ result }) => result !== 'ok')).toEqual([]);
  });

  it('without interfaces nothing is said of them but that', () => {
    const found = judge(facts({ interfaces: { unknown: 'the addon is missing' } }));
    expect(found.filter(({ result }) => result !== 'ok')).toMatchObject([
      { name: 'interfaces', result: 'unknown', text: expect.stringContaining('the addon is missing') },
    ]);
  });
});

const member = { of: 'bond', active: true } as const;
const enslaved = (master: ReturnType<typeof link>) =>
  withLink(uplink({ link: link(1, 'eth1', { mac: UPLINK_MAC, master: 3 }), master }));

const LINK: Row[] = [
  [
    'no such interface',
    withLink({ ...silent({}), name: 'eth9', link: undefined as never }),
    'problem interface eth9',
    'there is no such interface',
    'there are eth1, swp1, br0',
  ],
  [
    'no Ethernet',
    withLink(uplink({ link: { ...link(1, 'eth1'), mac: undefined as never } })),
    'problem interface eth1',
    'no Ethernet interface',
    'name another',
  ],
  [
    'a link that is down',
    withLink(uplink({ link: link(1, 'eth1', { up: false, lowerUp: false }) })),
    'problem interface eth1',
    'it is down',
    '$ ip link set dev eth1 up',
  ],
  [
    'a link without carrier',
    withLink(uplink({ link: link(1, 'eth1', { lowerUp: false }) })),
    'problem interface eth1',
    'no carrier',
    'cable',
  ],
  [
    'a VLAN device',
    withLink(uplink({ link: link(1, 'eth1', { kind: 'vlan', vlan: { id: 5, protocol: '802.1q' } }) })),
    'problem uplink eth1',
    'VLAN device (5)',
    'below it',
  ],
  [
    'a macvlan',
    withLink(uplink({ link: link(1, 'eth1', { kind: 'macvlan' }) })),
    'problem uplink eth1',
    'itself a macvlan',
    'stands on',
  ],
  ['a bridge', withLink(uplink({ link: bridge(0) })), 'problem uplink eth1', 'it is a bridge', 'take the'],
  [
    'a bond',
    withLink(uplink({ link: link(1, 'eth1', { kind: 'bond' }) })),
    'ok uplink eth1',
    'in no bridge and no aggregate',
    '',
  ],
  [
    'a port of a bridge',
    enslaved(bridge(0)),
    'problem uplink eth1',
    'port of the Linux bridge br0',
    '$ ip link set dev eth1 nomaster',
  ],
  [
    'a port of Open vSwitch',
    enslaved(link(3, 'ovs-system', { kind: 'openvswitch' })),
    'problem uplink eth1',
    'Open vSwitch',
    '$ ovs-vsctl del-port eth1',
  ],
  [
    'a member of a bond',
    withLink(uplink({ link: { ...link(1, 'eth1', { master: 3 }), member }, master: link(3, 'bond0') })),
    'problem uplink eth1',
    'a member of the bond bond0',
    'name bond0 instead of it in /etc/evbd/evbd.yaml',
  ],
  [
    'a member of a bond as a port',
    withLink(port({ link: { ...link(2, 'swp1', { master: 3 }), member }, master: link(3, 'bond0') })),
    'problem uplink swp1',
    'a member of the bond bond0',
    'name bond0 instead of it',
  ],
  [
    'a member of a team that is not to be seen',
    withLink(uplink({ link: link(1, 'eth1', { master: 9, member: { of: 'team' } }) })),
    'problem uplink eth1',
    'a member of the team',
    'name the team instead of it',
  ],
  ['in a VRF', enslaved(link(3, 'red', { kind: 'vrf' })), 'ok uplink eth1', 'in red (vrf)', ''],
  [
    'a small MTU',
    withLink(uplink({ link: link(1, 'eth1', { mtu: 1280 }) })),
    'warning mtu eth1',
    'MTU is 1280',
    '$ ip link set dev eth1 mtu 1500',
  ],
  [
    'lldpad that sends',
    withLink(uplink({ agents: agent({ program: 'lldpad', name: 'lldpad', transmits: true }) })),
    'problem lldp-agent eth1',
    'lldpad (process 9) also speaks LLDP to the customer bridge address',
    '$ lldptool -T -i eth1 -g ncb -V evb -c enableTx=no && lldptool -L -i eth1 -g ncb adminStatus=disabled',
  ],
  [
    'lldpad that sends, for draft switches',
    withLink(
      uplink({
        uplink: uplinkConfig('{ slaves: auto, interop: { lldp-scope: nearest-bridge } }'),
        agents: agent({ program: 'lldpad', name: 'lldpad', transmits: true }),
      }),
    ),
    'problem lldp-agent eth1',
    'nearest bridge address',
    '-g nb',
  ],
  [
    'lldpad that is idle',
    withLink(uplink({ agents: agent({ program: 'lldpad', name: 'lldpad', transmits: false, ecp: true }) })),
    'ok lldp-agent eth1',
    'does not speak',
    '',
  ],
  [
    'lldpad of which a user sees nothing',
    withLink(uplink({ agents: agent({ program: 'lldpad', name: 'lldpad' }) }), { root: false }),
    'unknown lldp-agent eth1',
    'not to be seen by this user',
    '$ sudo evbctl doctor',
  ],
  [
    'lldpd at the customer bridge address',
    withLink(
      uplink({
        agents: agent({ program: 'lldpd', name: 'lldpd', transmits: true, file: '/etc/lldpd.conf' }),
      }),
    ),
    'problem lldp-agent eth1',
    'lldpd (process 9)',
    'lldpcli configure lldp agent-type nearest-bridge, and so in /etc/lldpd.conf',
  ],
  [
    'networkd that sends',
    withLink(
      uplink({
        agents: agent({
          program: 'systemd-networkd',
          name: 'systemd-networkd',
          transmits: true,
          file: '/n.network',
        }),
      }),
    ),
    'problem lldp-agent eth1',
    'systemd-networkd',
    'EmitLLDP=no under [Network] in /n.network',
  ],
  [
    'what only calls itself lldpad',
    withLink(uplink({ agents: agent({ program: 'stranger', name: 'lldpad' }) })),
    'info lldp-agent eth1',
    'process 9 calls itself lldpad',
    '',
  ],
  [
    'a second evbd',
    withLink(uplink({ agents: agent({ program: 'evbd', name: 'node', transmits: true, ecp: true }) })),
    'problem lldp-agent eth1',
    'node (process 9)',
    '$ kill 9',
  ],
  [
    'a stranger with a socket for ECP',
    withLink(uplink({ agents: agent({ ecp: true }) })),
    'warning lldp-agent eth1',
    'takes ECP too',
    'keep x off eth1',
  ],
  [
    'sockets that are not to be seen',
    withLink(uplink({ agents: { unknown: 'no /proc' } })),
    'unknown lldp-agent eth1',
    'no /proc',
    '',
  ],
  [
    'firmware LLDP of ice',
    withLink(uplink({ driver: 'ice', firmware: { agent: 'on' } })),
    'problem firmware-lldp eth1',
    'takes LLDP for itself',
    '$ ethtool --set-priv-flags eth1 fw-lldp-agent off',
  ],
  [
    'firmware LLDP of i40e',
    withLink(uplink({ driver: 'i40e', firmware: { agent: 'on' } })),
    'problem firmware-lldp eth1',
    'takes LLDP for itself',
    '$ ethtool --set-priv-flags eth1 disable-fw-lldp on',
  ],
  [
    'firmware LLDP that is off',
    withLink(uplink({ driver: 'ice', firmware: { agent: 'off' } })),
    'ok firmware-lldp eth1',
    'is off',
    '',
  ],
  [
    'firmware of which nothing is told',
    withLink(uplink({ driver: 'ice', firmware: { unknown: 'an old kernel' } })),
    'unknown firmware-lldp eth1',
    'an old kernel',
    '$ ethtool --show-priv-flags eth1',
  ],
  [
    'enhanced_dad off',
    withLink(uplink({ ipv6: { enabled: true, enhancedDad: false, duplicate: false } })),
    'warning ipv6-dad eth1',
    'enhanced_dad is off',
    '$ sysctl -w net/ipv6/conf/eth1/enhanced_dad=1',
  ],
  [
    'an address that failed because of that',
    withLink(uplink({ ipv6: { enabled: true, enhancedDad: false, duplicate: true } })),
    'problem ipv6-dad eth1',
    'failed duplicate address detection',
    'sysctl -w net/ipv6/conf/eth1/enhanced_dad=1; then',
  ],
  [
    'enhanced_dad off without IPv6',
    withLink(uplink({ ipv6: { enabled: false, enhancedDad: false, duplicate: false } })),
    'ok ipv6-dad eth1',
    'no duplicate',
    '',
  ],
];

describe('an interface', () => {
  it.each(LINK)('%s', (_what, given, check, text, mend) => expectFound(given, check, text, mend));

  it('is looked at although nobody configured it', () => {
    const { uplink: _, status: __, ...rest } = uplink({ name: 'eth5', configured: false });
    const found = judge(withLink(rest)).filter(({ name }) => name === 'configuration');
    expect(found.map(({ link: about, result, text }) => [about, result, text])).toContainEqual([
      'eth5',
      'problem',
      'it is not in /etc/evbd/evbd.yaml',
    ]);
    expect(mendOf(found.at(-1)!)).toContain('uplinks: { eth5: {} }');
  });

  it('with a name that a shell would obey is quoted', () => {
    const name = "$(id)'";
    const found = judge(withLink(uplink({ name, link: link(1, name, { up: false }) })));
    expect(mendOf(found.find((each) => each.name === 'interface')!)).toBe(
      "$ ip link set dev '$(id)'\\''' up",
    );
  });
});

const PORT: Row[] = [
  [
    'no bridge, none there',
    withLink(
      { ...port({ link: link(2, 'swp1') }), master: undefined as never },
      { interfaces: { links: [] } },
    ),
    'problem bridge swp1',
    'in no Linux bridge',
    '$ ip link add br0 type bridge && ip link set dev br0 up && ip link set dev swp1 master br0',
  ],
  [
    'no bridge, one there',
    withLink({ ...port({ link: link(2, 'swp1') }), master: undefined as never }),
    'problem bridge swp1',
    'in no Linux bridge',
    '$ ip link set dev swp1 master br0',
  ],
  [
    'no bridge, two there',
    withLink(
      { ...port({ link: link(2, 'swp1') }), master: undefined as never },
      { interfaces: { links: [bridge(0), bridge(0, { name: 'br1' })] } },
    ),
    'problem bridge swp1',
    'in no Linux bridge',
    'master BRIDGE, one of br0, br1',
  ],
  [
    'no bridge, none needed',
    withLink({
      ...port({ link: link(2, 'swp1'), port: portConfig('{ reflective-relay: always }') }),
      master: undefined as never,
    }),
    'ok bridge swp1',
    'always',
    '',
  ],
  [
    'a bridge that is down',
    withLink(port({ master: bridge(1, { up: false }) })),
    'problem bridge swp1',
    'br0 is down',
    '$ ip link set dev br0 up',
  ],
  [
    'a blocked port',
    withLink(
      port({ link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, state: 'blocking' } }) }),
    ),
    'warning bridge swp1',
    'spanning tree at br0 blocks it',
    'loop',
  ],
  [
    'a port that learns',
    withLink(
      port({ link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, state: 'learning' } }) }),
    ),
    'info bridge swp1',
    'it is learning',
    '',
  ],
  [
    'a kernel without locked ports',
    withLink(
      port({
        link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, locked: undefined as never } }),
      }),
      { kernelRelease: '5.15.0-generic' },
    ),
    'problem enforce swp1',
    '5.15.0-generic',
    'enforce: off',
  ],
  [
    'an isolated port',
    withLink(port({ link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, isolated: true } }) })),
    'problem isolated swp1',
    'it is isolated',
    '$ bridge link set dev swp1 isolated off',
  ],
  [
    'an isolated port that is not to reflect',
    withLink(
      port({
        port: portConfig('{ reflective-relay: deny }'),
        link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, isolated: true } }),
      }),
    ),
    'ok isolated swp1',
    'denied',
    '',
  ],
  [
    'an isolated port that evbd clears',
    withLink(
      port({
        port: portConfig('{ isolated: clear }'),
        link: link(2, 'swp1', { master: 3, bridgePort: { ...bridgePort, isolated: true } }),
      }),
    ),
    'info isolated swp1',
    'cleared while relay is requested',
    '',
  ],
  [
    'a leak that is to be reported',
    withLink(
      port({
        siblings: ['swp2', 'swp3'],
        port: portConfig('{ leak: report }'),
        status: status('swp1', { leak: 'open', leakReason: 'so' }),
      }),
    ),
    'problem leak swp1',
    'leak to swp2, swp3',
    '"leak: stop" at swp1 in /etc/evbd/evbd.yaml, then evbctl reload; or: ip link set dev br0 type bridge stp_state 1',
  ],
  [
    'a leak that cannot be stopped',
    withLink(port({ siblings: ['swp2'], status: status('swp1', { leak: 'open', leakReason: 'so' }) })),
    'problem leak swp1',
    'leak to swp2',
    '$ ip link set dev br0 type bridge stp_state 1',
  ],
  [
    'a leak that is stopped',
    withLink(port({ siblings: ['swp2'], status: status('swp1', { leak: 'stopped', leakReason: 'kept' }) })),
    'ok leak swp1',
    'kept',
    '',
  ],
  [
    'no leak with spanning tree',
    withLink(port({ siblings: ['swp2'], master: bridge(1) })),
    'ok leak swp1',
    'forwards no EVB frames',
    '',
  ],
  [
    'no leak from the only port',
    withLink(port({ status: status('swp1', { leak: 'open', leakReason: 'so' }) })),
    'ok leak swp1',
    'the only port',
    '',
  ],
];

describe('a bridge port', () => {
  it.each(PORT)('%s', (_what, given, check, text, mend) => expectFound(given, check, text, mend));

  it.each([
    ['{}', 'info', 'until evbd runs'],
    ['{ leak: report }', 'problem', 'leak to swp2'],
  ])('leaks where no evbd runs, with %s', (text, result, said) => {
    const { status: _, ...rest } = port({ siblings: ['swp2'], port: portConfig(text) });
    const found = judge(withLink(rest, { daemon: down })).find(({ name }) => name === 'leak')!;
    expect([found.result, found.text]).toEqual([result, expect.stringContaining(said)]);
  });

  it.each([
    ['5.17.9', 'problem'],
    ['5.18.0', 'ok'],
    ['6.1.0-x', 'ok'],
    ['4.19.0', 'problem'],
  ])('that is in no bridge goes by the kernel %s', (kernelRelease, result) => {
    const given = withLink(
      { ...port({ link: link(2, 'swp1') }), master: undefined as never },
      { kernelRelease },
    );
    expect(judge(given).find(({ name }) => name === 'enforce')!.result).toBe(result);
  });
});

const relays = (more: Partial<ReturnType<typeof status>>, others: Partial<LinkFacts> = {}) =>
  withLink(uplink({ status: status('eth1', more), ...others }));

const PEER: Row[] = [
  [
    'nothing heard at all',
    withLink(silent({})),
    'problem neighbour eth1',
    'nothing at all was heard in the 60 seconds that evbd runs',
    'promisc on',
  ],
  [
    'nothing heard in a virtual machine',
    withLink(silent({}, { driver: 'virtio_net' })),
    'problem neighbour eth1',
    'nothing at all',
    "the hypervisor's bridge",
  ],
  [
    'LLDP without EVB',
    withLink(silent({ statsFramesInTotal: 4 })),
    'problem neighbour eth1',
    'LLDP was heard, but there is no EVB peer: no EVB peer heard yet',
    'switch EVB (802.1Qbg) on',
  ],
  [
    'LLDP with a tag',
    withLink(silent({ framesTagged: 1 })),
    'problem neighbour eth1',
    'VLAN tag only (1 frame)',
    'untagged',
  ],
  [
    'LLDP for others',
    withLink(silent({ otherFrames: 4 })),
    'problem neighbour eth1',
    'other groups',
    'lldp-scope: nearest-bridge',
  ],
  [
    'nobody at a port',
    withLink(port({ status: status('swp1', { peer: {}, relay: 'no-peer', counters: {} }) })),
    'warning neighbour swp1',
    'nothing at all',
    'at the station',
  ],
  [
    'EVB off',
    withLink(silent({}, { uplink: uplinkConfig('{ evb: false }') })),
    'info neighbour eth1',
    'EVB is off',
    'evb: true',
  ],
  [
    'none needed',
    relays({ peer: {}, relay: 'assumed', relayReason: 'the switch is configured by hand' }),
    'ok neighbour eth1',
    'none is needed',
    '',
  ],
  [
    'relay by hand',
    relays({ peer: {}, relay: 'assumed', relayReason: 'the switch is configured by hand' }),
    'info relay eth1',
    'configured by hand',
    '$ evbctl probe eth1',
  ],
  [
    'a rival',
    relays({ peer: { chassisId: 'sw', mac: 'm', otherPeers: 1 } }),
    'warning neighbour eth1',
    'another EVB neighbour',
    'take out the switch',
  ],
  [
    'a released link',
    relays({ peer: {}, relayReason: 'released; evbctl reload takes it up again' }),
    'problem neighbour eth1',
    'released',
    '$ evbctl reload',
  ],
  [
    'relay refused',
    relays({ relay: 'refused', relayReason: 'the bridge says it cannot reflect (no RRCAP)' }),
    'problem relay eth1',
    'no RRCAP',
    'when-relay-refused: bridge',
  ],
  [
    'relay requested',
    relays({ relay: 'requested', relayReason: 'x' }),
    'warning relay eth1',
    'has not turned it on',
    'look at the switch port',
  ],
  [
    'relay off',
    relays({ relay: 'off', relayReason: 'relay is not requested (reflective-relay: off)' }),
    'info relay eth1',
    'not requested',
    'reflective-relay: request',
  ],
  [
    'relay denied at a port',
    withLink(
      port({
        status: status('swp1', { relay: 'refused', relayReason: 'relay is not allowed on this port (deny)' }),
      }),
    ),
    'info relay swp1',
    'deny',
    '',
  ],
  [
    'a port that the kernel refuses hairpin',
    withLink(port({ status: status('swp1', { relay: 'refused', relayReason: 'cannot set hairpin' }) })),
    'warning relay swp1',
    'cannot set hairpin',
    '',
  ],
  [
    'a group address that is not received',
    withLink(uplink({ groups: { addresses: ['01:80:c2:00:00:0e'] } })),
    'problem group-address eth1',
    'does not receive 01:80:c2:00:00:00',
    '$ systemctl restart evbd',
  ],
  [
    'echoes',
    relays({ counters: { framesOwnEchoed: 2 } }),
    'info echo eth1',
    '2 frames of its own came back',
    'stp_state 1',
  ],
  [
    'echoes at a port',
    withLink(port({ status: status('swp1', { counters: { framesOwnEchoed: 1 } }) })),
    'warning echo swp1',
    '1 frame of its own came back, and was dropped',
    'loop',
  ],
  [
    'a flood',
    relays({ counters: { framesOverRate: 5 } }),
    'warning frames eth1',
    '5 frames came too fast',
    'evbctl trace eth1',
  ],
  [
    'frames not sent',
    relays({ counters: { framesNotSent: 1 } }),
    'warning frames eth1',
    'could not be sent',
    'MTU',
  ],
];

const alone = (heard: LinkFacts['heard'], more: Partial<Facts> = {}) =>
  withLink({ ...uplink(), status: undefined, heard } as never, { daemon: down, ...more });
const lldpdu = (more: object) => ({
  seconds: 3,
  lldpdus: [{ source: UPLINK_MAC, destination: '01:80:c2:00:00:00', systemName: 'sw', ...more }],
});

describe('the neighbour', () => {
  it.each(PEER)('%s', (_what, given, check, text, mend) => expectFound(given, check, text, mend));

  it.each([
    ['not listened to', undefined, 'unknown', 'was not looked at', '$ evbctl doctor --listen 35 eth1'],
    [
      'may not listen',
      { seconds: 3, failure: 'CAP_NET_RAW is missing', lldpdus: [] },
      'unknown',
      'CAP_NET_RAW',
      '',
    ],
    ['silence', { seconds: 1, lldpdus: [] }, 'problem', 'no LLDP was heard within 1 second', 'LLDP and EVB'],
    ['no EVB', lldpdu({}), 'problem', 'LLDP was heard of sw, but no EVB TLV', 'switch EVB'],
    [
      'nearest bridge only',
      lldpdu({ destination: '01:80:c2:00:00:0e' }),
      'problem',
      'LLDP for the nearest bridge',
      'switch EVB',
    ],
    ['a station', lldpdu({ evb: 'station', relay: false }), 'problem', 'an EVB station too', 'connect it'],
    ['no relay', lldpdu({ evb: 'bridge', relay: false }), 'warning', 'no reflective relay', 'allow'],
    ['a bridge', lldpdu({ evb: 'bridge', relay: true }), 'ok', 'sw speaks EVB', ''],
  ] as const)('without a daemon: %s', (_what, heard, result, text, mend) => {
    const found = judge(alone(heard as never)).find(({ name }) => name === 'neighbour')!;
    expect([found.result, found.text, mendOf(found)]).toEqual([
      result,
      expect.stringContaining(text),
      expect.stringContaining(mend),
    ]);
  });

  it('is told by what was listened to, where evbd has heard none', () => {
    const found = judge(
      withLink(silent({}, { heard: lldpdu({ destination: '01:80:c2:00:00:0e' }) as never })),
    );
    expect(found.find(({ name }) => name === 'neighbour')!.text).toBe(
      'LLDP for the nearest bridge was heard of sw, but no EVB TLV within 3 seconds',
    );
  });

  it('is not asked for where the interface is down', () => {
    const given = withLink(
      uplink({ link: link(1, 'eth1', { up: false, lowerUp: false }), status: status('eth1', { peer: {} }) }),
    );
    expect(judge(given).filter(({ name }) => name === 'neighbour' || name === 'relay')).toEqual([]);
  });

  it('that offers no relay is less of a matter where slaves go to bridge mode', () => {
    const given = relays(
      { relay: 'refused', relayReason: 'no RRCAP' },
      { uplink: uplinkConfig('{ when-relay-refused: bridge }') },
    );
    const found = judge(given).find(({ name }) => name === 'relay')!;
    expect(found.why).toContain('bridge mode meanwhile');
  });
});

const on = (...slaves: LinkFacts['slaves']) => withLink(uplink({ slaves }));

const SLAVES: Row[] = [
  [
    'one in bridge mode that a rule wants',
    on(slave('mv0', { mode: 'bridge', vsi: '', kind: 'macvlan' })),
    'warning slave-mode eth1',
    'mv0 (bridge) not in VEPA mode',
    '$ ip link set dev mv0 type macvlan mode vepa',
  ],
  [
    'one in bridge mode that no rule wants',
    on(slave('mv0', { mode: 'bridge', vsi: '', mac: '52:99:00:00:00:01' })),
    'info slave-mode eth1',
    'mv0 (bridge) not in VEPA mode',
    '$ ip link set dev mv0 type macvtap mode vepa',
  ],
  [
    'one elsewhere, whose mode cannot be changed from here',
    on(slave('mv0', { mode: 'private', vsi: '', namespace: 3 })),
    'warning slave-mode eth1',
    'mv0 in namespace 3 (private)',
    '',
  ],
  [
    'one that evbd has switched',
    on(slave('mv0', { mode: 'bridge' })),
    'info slave-mode eth1',
    'evbd has set mv0 to bridge mode',
    '',
  ],
  [
    'one with the address of the uplink',
    on(slave('mv0', { mac: UPLINK_MAC })),
    'warning slave-address eth1',
    'mv0 has the address of eth1 itself',
    '$ ip link set dev mv0 address 02:00:00:00:00:02',
  ],
  [
    'two with one address',
    on(slave('mv0', { mac: '52:54:00:00:00:ff' }), slave('mv1', { mac: '52:54:00:00:00:ff' })),
    'warning slave-address eth1',
    'mv0, mv1 have the same address 52:54:00:00:00:ff',
    '$ ip link set dev mv1 address 52:54:00:00:01:00',
  ],
  [
    'one that no rule matches',
    on(slave('mv0', { vsi: '', reason: 'no rule matches it' })),
    'warning slave-vsi eth1',
    'mv0 without VSI: no rule matches it',
    'rules: [{ match: { mac: "52:54:00:*" }',
  ],
  [
    'one that nobody asked for',
    withLink(uplink({ uplink: uplinkConfig('{}'), slaves: [slave('mv0', { vsi: '' })] })),
    'warning slave-vsi eth1',
    'mv0 without VSI',
    'evbctl associate eth1 --mac 52:54:00:00:00:01 --profile NAME',
  ],
];

describe('slaves', () => {
  it.each(SLAVES)('%s', (_what, given, check, text, mend) => expectFound(given, check, text, mend));

  it('many are counted, not listed', () => {
    const many = Array.from({ length: 9 }, (_, i) =>
      slave(`mv${i}`, { vsi: '', mac: `52:54:00:00:00:0${i}` }),
    );
    const found = judge(on(...many)).find(({ name }) => name === 'slave-vsi')!;
    expect(found.text).toBe('mv0, mv1, mv2, mv3 and 5 more without VSI');
  });

  it('that somebody else asked for have a VSI all the same', () => {
    const vsi = {
      link: 'eth1',
      id: 'i',
      state: 'associated',
      reason: '',
      filters: [{ mac: '52:54:00:00:00:01', vid: 1 }],
    };
    const given = facts({
      daemon: { ...daemon, vsis: [vsi as never] },
      links: [uplink({ slaves: [slave('mv0', { vsi: '' })] })],
    });
    expect(judge(given).find(({ name }) => name === 'slave-vsi')!.result).toBe('ok');
  });

  it.each([
    ['failed', 'problem'],
    ['associating', 'warning'],
  ])('whose VSI is %s', (state, result) => {
    const vsi = {
      link: 'eth1',
      id: 'i',
      state,
      reason: 'so',
      filters: [{ mac: '52:54:00:00:00:01', vid: 1 }],
    };
    const given = facts({
      daemon: { ...daemon, vsis: [vsi as never] },
      links: [uplink({ slaves: [slave('mv0', { vsi: 'i' })] })],
    });
    const found = judge(given).find(({ name }) => name === 'slave-vsi')!;
    expect([found.result, found.text, mendOf(found)]).toEqual([
      result,
      `52:54:00:00:00:01 is ${state}: so`,
      '$ evbctl vsi eth1/i',
    ]);
  });

  it.each([['ipvlan', [slave('ip0', { kind: 'ipvlan', mode: 'l2 vepa', mac: UPLINK_MAC })], ['ipvlan']]])(
    'limits by design are told once: %s',
    (_what, slaves, told) => {
      const found = judge(on(...slaves)).filter(({ result }) => result !== 'ok');
      expect(found.map(({ name, result }) => [name, result])).toEqual(told.map((name) => [name, 'info']));
    },
  );

  it.each([
    ['active', false],
    ['assumed', false],
    ['refused', true],
    ['no-peer', true],
  ] as const)('with relay %s the host may be out of reach of its guests: %s', (relay, told) => {
    const given = withLink(uplink({ slaves: [slave('tap0')], status: status('eth1', { relay }) }));
    expect(judge(given).some(({ name }) => name === 'host-to-guest')).toBe(told);
  });
});

describe('what is pasted names an interface in one word', () => {
  const NAME = "a;x$(y)'";
  const COMMANDS = [
    ...['bridge', 'ethtool', 'evbctl', 'evbd', 'ip', 'kill', 'lldptool', 'nsenter', 'ovs-vsctl', 'sudo'],
    ...['sysctl', 'systemctl'],
  ];
  const stubs = mkdtempSync(`${tmpdir()}/evbd-doctor-`);
  for (const name of COMMANDS)
    writeFileSync(`${stubs}/${name}`, `#!/bin/sh\nprintf '%s\\n' ${name} "$@" --\n`, { mode: 0o755 });
  afterAll(() => rmSync(stubs, { recursive: true }));

  /** The words of each command, none of which is run. */
  function wordsOf(command: string): string[][] {
    const { status, stdout, stderr } = spawnSync('/bin/sh', ['-c', command], {
      env: { PATH: stubs },
      encoding: 'utf8',
    });
    expect({ command, status, stderr }).toMatchObject({ status: 0, stderr: '' });
    return stdout
      .split('--\n')
      .filter(Boolean)
      .map((words) => words.split('\n').slice(0, -1));
  }

  const evil = { ...link(1, NAME), mac: UPLINK_MAC };
  const master = { ...bridge(0), name: NAME };
  const up = (more: Partial<LinkFacts>) => withLink({ ...uplink(), name: NAME, link: evil, ...more });
  const at = (more: Partial<LinkFacts>, others: Partial<Facts> = {}) =>
    withLink({ ...port(), name: NAME, link: { ...port().link!, name: NAME }, ...more }, others);
  const open = { ...link(4, NAME), master: 3, bridgePort: { ...bridgePort, groupForwardMask: 1 } };
  const leaks = { siblings: ['swp2'], status: status(NAME, { leak: 'open', leakReason: 'so' }) };
  const filtering = {
    stpState: 1,
    vlanFiltering: true,
    vlanProtocol: '802.1ad',
    groupForwardMask: 0,
  } as const;
  const hosts: Facts[] = [
    up({ link: { ...evil, up: false } }),
    up({ link: { ...evil, mtu: 576, master: 3 }, master }),
    up({ link: { ...evil, master: 3 }, master: link(3, 'ovs', { kind: 'openvswitch' }) }),
    up({ agents: agent({ program: 'lldpad', transmits: true }) }),
    up({ driver: 'ice', firmware: { agent: 'on' } }),
    up({ driver: 'ice', firmware: { unknown: 'x' } }),
    up({ ipv6: { enabled: true, enhancedDad: false, duplicate: false } }),
    up({ ipv6: { enabled: true, enhancedDad: false, duplicate: true } }),
    up({ status: status(NAME, { relay: 'assumed', relayReason: 'so' }) }),
    up({ status: status(NAME, { peer: {}, relay: 'no-peer', counters: {} }) }),
    up({ status: status(NAME, { counters: { statsFramesInTotal: 1, framesOverRate: 1 } }) }),
    up({ slaves: [slave(NAME, { mode: 'bridge', vsi: '' }), slave('b', { mac: UPLINK_MAC })] }),
    up({ slaves: [slave(NAME, { mac: UPLINK_MAC }), slave('b', { vsi: '' })], uplink: uplinkConfig('{}') }),
    withLink({ ...uplink(), name: NAME, status: undefined } as never, { daemon: down, root: false }),
    at({ link: { ...link(2, NAME), master: undefined } as never, master: undefined as never }),
    at({ link: link(2, NAME), master: undefined as never }, { interfaces: { links: [master] } }),
    at({ link: link(2, NAME), master: undefined as never }, { interfaces: { links: [master, bridge(0)] } }),
    at({ master: { ...master, up: false } }),
    at({ link: { ...port().link!, bridgePort: { ...bridgePort, isolated: true } } }),
    at({ ...leaks, master }),
    at({ ...leaks, master, port: portConfig('{ leak: report }') }),
    at({ ...leaks, master: { ...master, bridge: filtering } }),
    at({ ...leaks, master: bridge(1) }, { interfaces: { links: [open] } }),
  ];
  const findings = hosts.flatMap((host) => judge(host));
  const runs = findings.flatMap(({ mend }) =>
    mend && 'run' in mend && mend.run.includes('a;x') ? mend.run : [],
  );
  // Of the commands within a sentence, those that end where it ends.
  const within = findings.flatMap(({ mend }) =>
    mend && 'do' in mend
      ? (/(?:^|: |or )((?:ip|sysctl|evbctl) .*?)(?:; then .*| shows .*|, one of .*)?$/.exec(mend.do)?.[1] ??
        [])
      : [],
  );

  it.each([...new Set([...runs, ...within.filter((command) => command.includes('a;x'))])])(
    '%s',
    (command) => {
      const commands = wordsOf(command);
      for (const words of commands)
        expect(words.filter((word) => /(?:^|\/)a;x\$\(y\)'(?:\/|$)/.test(word)).length).toBeGreaterThan(0);
      expect(commands.flat().filter((word) => /a;x|y\)/.test(word) && !word.includes(NAME))).toEqual([]);
    },
  );

  it('all of them', () => {
    const kinds = new Set(runs.map((run) => run.replaceAll(quoted(NAME), 'NAME')));
    expect([...kinds].sort()).toMatchInlineSnapshot(`
      [
        "bridge link set dev NAME isolated off",
        "ethtool --set-priv-flags NAME fw-lldp-agent off",
        "ethtool --show-priv-flags NAME",
        "evbctl probe NAME",
        "ip link set dev NAME address 02:00:00:00:00:02",
        "ip link set dev NAME master NAME",
        "ip link set dev NAME master br0",
        "ip link set dev NAME mtu 1500",
        "ip link set dev NAME nomaster",
        "ip link set dev NAME type bridge stp_state 1",
        "ip link set dev NAME type bridge vlan_protocol 802.1q",
        "ip link set dev NAME type bridge_slave group_fwd_mask 0",
        "ip link set dev NAME type macvtap mode vepa",
        "ip link set dev NAME up",
        "lldptool -T -i NAME -g ncb -V evb -c enableTx=no && lldptool -L -i NAME -g ncb adminStatus=disabled",
        "ovs-vsctl del-port NAME",
        "sudo evbctl doctor --listen 35 NAME",
        "sysctl -w net/ipv6/conf/NAME/enhanced_dad=1",
      ]
    `);
    const others = new Set(within.map((run) => run.replaceAll(quoted(NAME), 'NAME')));
    expect([...others].sort()).toMatchInlineSnapshot(`
      [
        "evbctl associate NAME --mac 52:54:00:00:00:01 --profile NAME",
        "evbctl trace NAME",
        "ip link set dev NAME master BRIDGE",
        "ip link set dev NAME promisc on",
        "ip link set dev NAME type bridge stp_state 1",
        "sysctl -w net/ipv6/conf/NAME/enhanced_dad=1",
      ]
    `);
  });
});

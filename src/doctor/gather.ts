/** Gathers the facts: from the configuration, the daemon, the kernel, /proc and /sys. What cannot be had is said, never thrown. */

import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { extname, isAbsolute, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import type { Link } from '../../protocols/rtnetlink/index.ts';
import { type Capabilities, parseCapabilities } from '../capabilities.ts';
import { type Config, ConfigError, loadConfig } from '../config/config.ts';
import { hasCode } from '../kernel/kernel-error.ts';
import type { LinkStatus, SlaveStatus } from '../model.ts';
import { quoted } from '../shell.ts';
import { AgentFinder, configOf, DEFAULT_FILE, findEvbd, isBelieved } from './agents.ts';
import type { ConfigurationFact, DaemonFact, Facts, Firmware, Ipv6, LinkFacts, Unknown } from './facts.ts';
import { parseAge, parseDuplicate, parseGroups, processOf, readLink, readText } from './procfs.ts';

export interface GatherOptions {
  /** Absent: that of the evbd that runs, or the usual one. */
  file?: string;
  bus: string;
  /** Only this link. */
  only?: string;
  /** Seconds to listen for LLDP where no daemon tells; 0: not at all. */
  listen: number;
}

/** Milliseconds for each answer of the bus and of the daemon. */
const BUS_TIMEOUT = 5_000;
const UNIT_FOLDERS = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map(
  (folder) => `${folder}/systemd/system`,
);
const POLICY_FOLDERS = ['/usr/share', '/etc', '/usr/local/share'].map(
  (folder) => `${folder}/dbus-1/system.d`,
);
const SLAVE_KINDS = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap'];
/** VLAN devices on top of each other; the kernel takes less. */
const NESTING_MAX = 8;

export async function gather(options: GatherOptions): Promise<Facts> {
  const { bus, only, listen } = options;
  const [daemon, interfaces] = await Promise.all([askDaemon(bus), readInterfaces()]);
  const file = options.file ?? (daemon.running ? daemon.file : undefined) ?? DEFAULT_FILE;
  const configuration = readConfiguration(file);
  const config = 'config' in configuration ? configuration.config : undefined;
  const statuses = daemon.running ? daemon.links : [];
  const names = namesOf(config, statuses);
  const finder = new AgentFinder();
  const links = (only === undefined ? names : names.includes(only) ? [only] : asked(only, interfaces)).map(
    (name) => ({ name, status: statuses.find((link) => link.name === name) }),
  );
  const root = process.getuid?.() === 0;
  const programs = { evbctl: callOf('evbctl', root), evbd: callOf('evbd', root) };
  const busOption = bus === 'system' ? '' : ` --bus ${quoted(bus)}`;
  const evbctl = programs.evbctl + busOption;
  const facts: Facts = {
    node: process.versions.node,
    kernelRelease: release(),
    programs,
    busOption,
    evbctl,
    doctor: `${evbctl} doctor${options.file === undefined ? '' : ` --config ${quoted(options.file)}`}`,
    file,
    configuration,
    unit:
      existsSync('/run/systemd/system') && UNIT_FOLDERS.some((each) => existsSync(`${each}/evbd.service`)),
    ...(bus === 'system' && { policy: policy() }),
    root,
    capabilities: capabilitiesOf('self'),
    daemon,
    interfaces,
    links: await Promise.all(
      links.map(({ name, status }) => lookAtLink(name, config, status, daemon, interfaces, finder)),
    ),
  };
  const elsewhere = daemon.running && daemon.elsewhere;
  if (listen > 0 && !elsewhere) await listenTo(facts, listen);
  return facts;
}

const PROGRAMS = { evbctl: '../cli/evbctl', evbd: '../evbd' };
/** Where sudo looks, whatever the PATH of who calls it. */
const SUDO_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** A program of ours as words of a shell that work in this one: its name where that leads to it, else the file itself. */
export function callOf(
  program: keyof typeof PROGRAMS,
  root: boolean,
  path = process.env['PATH'] ?? '',
): string {
  const found = path.split(':').some(
    (folder) =>
      // npx has folders of its own in front, which are gone with it.
      isAbsolute(folder) &&
      !folder.endsWith('/node_modules/.bin') &&
      (root || SUDO_FOLDERS.includes(folder)) &&
      isExecutable(join(folder, program)),
  );
  if (found) return program;
  const file = fileURLToPath(new URL(PROGRAMS[program] + extname(import.meta.url), import.meta.url));
  return `${quoted(process.execPath)} ${quoted(file)}`;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** What lets evbd own its name on the system bus: whether it is there, and ours to be put there. */
function policy(): NonNullable<Facts['policy']> {
  const name = 'org.evbd1.conf';
  const installed = POLICY_FOLDERS.some((folder) => existsSync(`${folder}/${name}`));
  const places = ['../../../systemd/', '../../systemd/'].map((up) => new URL(up + name, import.meta.url));
  const file = places.map((place) => fileURLToPath(place)).find((place) => existsSync(place));
  return { installed, ...(file && { file }) };
}

function readConfiguration(file: string): ConfigurationFact {
  try {
    accessSync(file, constants.R_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { missing: true };
    if (code === 'EACCES') return { unknown: 'no permission to read it' };
  }
  try {
    return { config: loadConfig(file) };
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems };
    throw error;
  }
}

async function askDaemon(bus: string): Promise<DaemonFact> {
  const { connect } = await import('../dbus/client.ts');
  let client: Awaited<ReturnType<typeof connect>> | undefined;
  try {
    client = await connect(bus, BUS_TIMEOUT);
    const version = await client.version();
    const { links, vsis } = await client.status();
    const pid = await client.processId().catch(() => undefined);
    return { running: true, version, bus: busName(bus), ...ofProcess(pid), links, vsis };
  } catch (error) {
    return { running: false, reason: (error as Error).message, ...findEvbd() };
  } finally {
    await client?.close();
  }
}

function busName(bus: string): string {
  return bus === 'system' || bus === 'session' ? `the ${bus} bus` : `bus ${bus}`;
}

/** What /proc tells of the daemon; its number is that of another process where it is in another PID namespace. */
function ofProcess(pid: number | undefined) {
  const found = pid === undefined ? undefined : processOf(pid);
  if (found === undefined || !found.args.some((arg) => arg.includes('evbd')))
    return { elsewhere: false, capabilities: { unknown: 'its process is not to be seen from here' } };
  const theirs = readLink(`/proc/${pid}/ns/net`);
  const age = parseAge(readText(`/proc/${pid}/stat`), readText('/proc/uptime'));
  const believed = isBelieved(found);
  const file = believed ? configOf(found) : undefined;
  return {
    pid: found.pid,
    elsewhere: theirs !== undefined && theirs !== readLink('/proc/self/ns/net'),
    capabilities: capabilitiesOf(found.pid),
    ...(age !== undefined && { age }),
    ...(file && { file }),
    ...(!believed && { foreign: true as const }),
  };
}

function capabilitiesOf(pid: number | 'self'): Capabilities | Unknown {
  const path = `/proc/${pid}/status`;
  return parseCapabilities(readText(path)) ?? { unknown: `${path} cannot be read` };
}

async function readInterfaces(): Promise<Facts['interfaces']> {
  try {
    const { Rtnetlink } = await import('../kernel/rtnetlink.ts');
    const rtnetlink = new Rtnetlink();
    try {
      return { links: await rtnetlink.links() };
    } finally {
      rtnetlink.close();
    }
  } catch (error) {
    // The addon may be missing too.
    return { unknown: (error as Error).message };
  }
}

function namesOf(config: Config | undefined, statuses: readonly LinkStatus[]): string[] {
  const configured = [...Object.keys(config?.uplinks ?? {}), ...Object.keys(config?.ports ?? {})];
  return [...new Set([...configured, ...statuses.map(({ name }) => name)])];
}

/** A link that nobody configured is looked at where it exists. */
function asked(name: string, interfaces: Facts['interfaces']): string[] {
  const known = 'unknown' in interfaces || interfaces.links.some((link) => link.name === name);
  return known ? [name] : [];
}

async function lookAtLink(
  name: string,
  config: Config | undefined,
  status: LinkStatus | undefined,
  daemon: DaemonFact,
  interfaces: Facts['interfaces'],
  finder: AgentFinder,
): Promise<LinkFacts> {
  const uplink = own(config?.uplinks, name);
  const port = own(config?.ports, name);
  const all = 'unknown' in interfaces ? [] : interfaces.links;
  const link = all.find((each) => each.name === name);
  const master = all.find(({ index }) => index === link?.master);
  const isPort = port !== undefined || (uplink === undefined && link?.bridgePort !== undefined);
  const scope = (uplink ?? port)?.interop['lldp-scope'] ?? 'customer-bridge';
  const ours = daemon.running ? (daemon.pid ?? 'unseen') : daemon.process?.pid;
  const driver = link === undefined ? undefined : driverOf(link);
  return {
    name,
    role: status?.role ?? (isPort ? 'bridge' : 'station'),
    configured: uplink !== undefined || port !== undefined,
    ...(uplink && { uplink }),
    ...(port && { port }),
    ...(status && { status }),
    ...(link && { link }),
    ...(master && { master }),
    siblings: all
      .filter(
        ({ master: of, index, up }) =>
          of !== undefined && of === master?.index && index !== link?.index && up,
      )
      .map((each) => each.name),
    ...(driver && { driver }),
    firmware: link === undefined ? { unknown: 'there is no such interface' } : await firmwareOf(link, driver),
    groups: link === undefined ? { unknown: 'there is no such interface' } : groupsOf(link),
    ipv6: link === undefined ? { unknown: 'there is no such interface' } : ipv6Of(link),
    agents:
      link === undefined ? { found: [] } : finder.on(link, { scope, ours, served: status !== undefined }),
    slaves: status?.slaves ?? (link === undefined ? [] : slavesOf(link, all)),
  };
}

/** A configuration's names are anybody's words. */
function own<T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;
}

/** /sys may be that of another network namespace; then the index tells. */
function driverOf({ name, index }: Link): string | undefined {
  const folder = `/sys/class/net/${name}`;
  if (Number(readText(`${folder}/ifindex`)) !== index) return undefined;
  return readLink(`${folder}/device/driver`)?.split('/').at(-1);
}

/** Private flags of the drivers whose cards are known to take LLDP frames for themselves; the value says that they do. */
const FIRMWARE_FLAGS: Readonly<Record<string, boolean>> = {
  'fw-lldp-agent': true,
  'enable-fw-lldp': true,
  'disable-fw-lldp': false,
};

const FIRMWARE_DRIVERS = ['ice', 'i40e'];

async function firmwareOf({ index, kind }: Link, driver: string | undefined): Promise<Firmware> {
  if (kind !== undefined) return { agent: 'none' };
  try {
    const { privateFlags } = await import('../kernel/private-flags.ts');
    const flags = [...(await privateFlags(index))];
    const found = flags.find(([flag]) => Object.hasOwn(FIRMWARE_FLAGS, flag));
    if (found === undefined) return { agent: 'none' };
    return { agent: FIRMWARE_FLAGS[found[0]] === found[1] ? 'on' : 'off' };
  } catch (error) {
    if (driver !== undefined && !FIRMWARE_DRIVERS.includes(driver)) return { agent: 'none' };
    if (hasCode(error, 'ENOENT')) return { unknown: 'this kernel does not tell it' };
    return { unknown: (error as Error).message };
  }
}

function groupsOf({ index }: Link): LinkFacts['groups'] {
  const text = readText('/proc/net/dev_mcast');
  if (text === undefined) return { unknown: '/proc/net/dev_mcast cannot be read' };
  return { addresses: parseGroups(text, index) };
}

function ipv6Of({ name, index }: Link): Ipv6 | Unknown {
  const folder = '/proc/sys/net/ipv6/conf';
  // Without IPv6, in the kernel or, with a small MTU, on the interface, there is no such folder.
  if (!existsSync(`${folder}/${name}`)) return { enabled: false, enhancedDad: false, duplicate: false };
  const value = (which: string, key: string) => readText(`${folder}/${which}/${key}`)?.trim();
  const either = (key: string) => [value('all', key), value(name, key)];
  const enhanced = either('enhanced_dad');
  if (enhanced.includes(undefined)) return { unknown: `${folder}/${name}/enhanced_dad cannot be read` };
  return {
    // Of both the kernel takes the greater one.
    enabled: value(name, 'disable_ipv6') === '0' && either('accept_dad').some((accept) => Number(accept) > 0),
    enhancedDad: enhanced.includes('1'),
    duplicate: parseDuplicate(readText('/proc/net/if_inet6') ?? '', index),
  };
}

/** Those of our namespace, as the daemon would tell them. */
function slavesOf(uplink: Link, all: readonly Link[]): SlaveStatus[] {
  const byIndex = new Map(all.map((link) => [link.index, link]));
  return all.flatMap((link) => {
    if (!SLAVE_KINDS.includes(link.kind ?? '') || link.linkNamespaceId !== undefined) return [];
    let below = byIndex.get(link.parent ?? 0);
    const vlan = below?.vlan?.id ?? 0;
    for (let depth = 0; below?.vlan !== undefined && depth < NESTING_MAX; depth++)
      below = byIndex.get(below.parent ?? 0);
    if (below?.index !== uplink.index) return [];
    const { name, kind = '', macvlanMode, ipvlan, mac = '' } = link;
    const mode = macvlanMode ?? (ipvlan === undefined ? 'unknown' : `${ipvlan.mode} ${ipvlan.isolation}`);
    return [{ name, kind, mode, mac, vlan, namespace: -1, vsi: '', reason: '' }];
  });
}

/** What a daemon in our namespace has heard needs no second ear. */
async function listenTo(facts: Facts, seconds: number): Promise<void> {
  const open = facts.links.filter(
    ({ link, status }) =>
      link?.lowerUp && link.mac !== undefined && Object.keys(status?.peer ?? {}).length === 0,
  );
  try {
    const { listen } = await import('./listen.ts');
    const heard = await listen(
      open.map(({ link }) => ({ index: link!.index, mac: link!.mac! })),
      seconds,
    );
    for (const [i, link] of open.entries()) link.heard = heard[i]!;
  } catch (error) {
    for (const link of open) link.heard = { seconds, failure: (error as Error).message, lldpdus: [] };
  }
}

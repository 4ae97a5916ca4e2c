/** Which other programs speak or hear the protocols on an interface, by the sockets that the kernel shows, not by names alone. */

import { basename, isAbsolute, join, resolve } from 'node:path';
import process from 'node:process';
import { ETHERTYPE_ECP, ETHERTYPE_ECP_DRAFT, ETHERTYPE_LLDP } from '../../protocols/ethernet/index.ts';
import type { Agent, Unknown } from './facts.ts';
import {
  listWithin,
  type PacketSocketEntry,
  type Process,
  parsePacketSockets,
  parseUnixSockets,
  parseUserId,
  processIds,
  processOf,
  readLink,
  readText,
  readWithin,
  socketOwners,
} from './procfs.ts';

export const DEFAULT_FILE = '/etc/evbd/evbd.yaml';
const ETH_P_ALL = 0x0003;
/** The control socket of lldpad; abstract, and so of one network namespace. */
const LLDPAD_SOCKET = '@/com/intel/lldpad';
const LLDPAD_CONFIG = '/var/lib/lldpad/lldpad.conf';
/** Files in a folder of a configuration that are read. */
const FOLDER_MAX = 64;
/** Programs that hear LLDP and say nothing. */
const LISTENERS = ['NetworkManager', 'tcpdump', 'dumpcap'];

/** `lldp-scope` of the configuration: which group address LLDP goes to. */
export type Scope = 'customer-bridge' | 'nearest-bridge';

export interface Asked {
  /** The group address of LLDP on this link. */
  scope: Scope;
  /** Process id of the evbd that is asked for its status; `unseen`: there is one, but which one is not known. */
  ours: number | 'unseen' | undefined;
  /** It has the link. */
  served: boolean;
}

interface Sockets {
  packets: readonly PacketSocketEntry[];
  owners: ReadonlyMap<string, Process>;
  lldpad: Process | 'somebody' | undefined;
  networkd: Process | undefined;
  /** Who passes for one of these, by its name, and is not believed. */
  strangers: readonly { claims: string; pid: number }[];
}

/** One look at the sockets of our network namespace; then asked interface by interface. */
export class AgentFinder {
  readonly #sockets: Sockets | Unknown;

  constructor() {
    this.#sockets = look();
  }

  on(link: { index: number; name: string }, { scope, ours, served }: Asked): { found: Agent[] } | Unknown {
    if ('unknown' in this.#sockets) return this.#sockets;
    const { packets, owners, lldpad, networkd, strangers } = this.#sockets;
    const here = packets.filter(
      ({ interfaceIndex }) => interfaceIndex === link.index || interfaceIndex === 0,
    );
    const types = new Map<number, Set<number>>();
    for (const { etherType, inode } of here) {
      const owner = owners.get(inode);
      if (owner !== undefined) types.set(owner.pid, (types.get(owner.pid) ?? new Set()).add(etherType));
    }
    const found: Agent[] = strangers.map(({ claims, pid }) => ({
      program: 'stranger',
      name: claims,
      pid,
      ecp: false,
    }));
    if (lldpad !== undefined) found.push(lldpadOn(link.name, scope, lldpad));
    if (networkd !== undefined) found.push(networkdOn(link.index, scope, networkd));
    const seen = new Set<unknown>([ours, networkd?.pid, ...(lldpad instanceof Object ? [lldpad.pid] : [])]);
    for (const owner of new Map([...owners.values()].map((each) => [each.pid, each])).values()) {
      const spoken = types.get(owner.pid);
      if (spoken === undefined || seen.has(owner.pid)) continue;
      const agent = agentOf(owner, spoken, scope);
      if (agent === undefined || (agent.program === 'evbd' && ours === 'unseen')) continue;
      found.push(agent);
    }
    // What is not ours to see: a socket for everything may be lldpd's, and one of them is that of evbd.
    const hidden = here.filter(({ inode }) => !owners.has(inode)).map(({ etherType }) => etherType);
    const forAll = hidden.filter((type) => type === ETH_P_ALL).length;
    const isRoot = process.getuid?.() === 0;
    if ((forAll < hidden.length && lldpad !== 'somebody') || (!isRoot && forAll > (served ? 1 : 0)))
      found.push({ program: 'other', name: '', ecp: speaksEcp(hidden) });
    return { found };
  }
}

/** An evbd in our network namespace, other than the one that is on the bus; `stranger`: who only says so. */
export function findEvbd(): { process?: { pid: number; bus: string }; stranger?: number } {
  let stranger: number | undefined;
  for (const pid of processIds('ours')) {
    const found = processOf(pid);
    if (found === undefined || !isEvbd(found)) continue;
    if (isBelieved(found)) return { process: { pid, bus: optionOf(found, '--bus') ?? 'system' } };
    stranger ??= pid;
  }
  return stranger === undefined ? {} : { stranger };
}

/**
 * Everybody may call a process evbd, and have it say that its configuration is theirs. What root is told to paste comes only from
 * those who could do without.
 */
export function isBelieved(found: Process): boolean {
  // A setuid program that waits for a password is root's, with arguments of its user.
  const program = basename(readLink(`/proc/${found.pid}/exe`) ?? 'node');
  return isOf(found, 'evbd') && /^(?:node|evbd)/.test(program);
}

/** Of root, of who asks, or of this user. */
function isOf({ user }: Process, name: string): boolean {
  if (user === undefined) return false;
  return (
    user === 0 || user === process.getuid?.() || user === parseUserId(readWithin('/', '/etc/passwd'), name)
  );
}

/** The configuration of an evbd by its command line; undefined: its name leads on from a folder that is not ours to see. */
export function configOf(process: Process): string | undefined {
  const told = optionOf(process, '--config') ?? DEFAULT_FILE;
  if (isAbsolute(told)) return told;
  const folder = readLink(`/proc/${process.pid}/cwd`);
  return folder && resolve(folder, told);
}

function workingFolder(pid: number): string {
  return readLink(`/proc/${pid}/cwd`) ?? '/';
}

function look(): Sockets | Unknown {
  const text = readText('/proc/net/packet');
  if (text === undefined) return { unknown: '/proc/net/packet cannot be read' };
  const speaking = [ETHERTYPE_LLDP, ETHERTYPE_ECP, ETHERTYPE_ECP_DRAFT, ETH_P_ALL];
  const packets = parsePacketSockets(text).filter(({ etherType }) => speaking.includes(etherType));
  const controls = parseUnixSockets(readText('/proc/net/unix') ?? '', LLDPAD_SOCKET);
  const pids = processIds('perhaps');
  const inodes = new Set([...packets.map(({ inode }) => inode), ...controls]);
  const owners = new Map<string, Process>();
  for (const [inode, pid] of socketOwners(inodes, pids)) {
    const owner = processOf(pid);
    if (owner !== undefined) owners.set(inode, owner);
  }
  const holders = controls.map((inode) => owners.get(inode));
  const networkds = pids
    .filter((pid) => readText(`/proc/${pid}/comm`)?.trimEnd() === 'systemd-network')
    .flatMap((pid) => processOf(pid) ?? []);
  const isLldpad = (holder: Process | undefined) => holder === undefined || isOf(holder, 'root');
  const isNetworkd = (each: Process) => isOf(each, 'systemd-network');
  const lldpad = holders.filter(isLldpad).sort((a, b) => Number(b !== undefined) - Number(a !== undefined));
  const pretenders = [
    { claims: 'lldpad', pid: holders.find((holder) => !isLldpad(holder))?.pid },
    { claims: 'systemd-networkd', pid: networkds.find((each) => !isNetworkd(each))?.pid },
  ];
  return {
    packets,
    owners,
    lldpad: lldpad.length === 0 ? undefined : (lldpad[0] ?? 'somebody'),
    networkd: networkds.find(isNetworkd),
    strangers: pretenders.flatMap(({ claims, pid }) => (pid === undefined ? [] : { claims, pid })),
  };
}

function agentOf(process: Process, types: ReadonlySet<number>, scope: Scope): Agent | undefined {
  const { pid, name } = process;
  const ecp = speaksEcp([...types]);
  if (isEvbd(process) && isBelieved(process))
    return { program: 'evbd', name, pid, transmits: true, ecp: true };
  if (name === 'lldpd') return { program: 'lldpd', name, pid, ecp: false, ...lldpdTransmits(scope) };
  // A socket for everything is a sniffer's, or one of DHCP.
  if (!types.has(ETHERTYPE_LLDP) && !ecp) return undefined;
  if (LISTENERS.includes(name) && !ecp) return { program: 'other', name, pid, transmits: false, ecp };
  return { program: 'other', name, pid, ecp };
}

function speaksEcp(types: readonly number[]): boolean {
  return types.includes(ETHERTYPE_ECP) || types.includes(ETHERTYPE_ECP_DRAFT);
}

/** By its command line: the program itself, or Node with its script. */
export function isEvbd({ args }: Pick<Process, 'args'>): boolean {
  const [program = '', ...rest] = args;
  if (basename(program) === 'evbd') return true;
  const script = /^node(js)?$/.test(basename(program)) && rest.find((arg) => !arg.startsWith('-'));
  return script ? ['evbd', 'evbd.js', 'evbd.ts'].includes(basename(script)) : false;
}

function optionOf({ args }: Process, name: string): string | undefined {
  const at = args.indexOf(name);
  if (at >= 0) return args[at + 1];
  return args.find((arg) => arg.startsWith(`${name}=`))?.slice(name.length + 1);
}

/**
 * lldpad has a socket for LLDP and for ECP on every interface, also where it is idle: what it does there only its configuration
 * tells, which it writes with every change.
 */
function lldpadOn(link: string, scope: Scope, lldpad: Process | 'somebody'): Agent {
  if (lldpad === 'somebody') return { program: 'lldpad', name: 'lldpad', ecp: true };
  const { pid, name } = lldpad;
  const file = lldpadFile(lldpad);
  const text = readOf(pid, file);
  const agent: Agent = { program: 'lldpad', name, pid, ecp: true, file };
  if (text === undefined) return agent;
  return { ...agent, transmits: lldpadTransmits(text, link, scope) };
}

/** A file as a process sees it, which may live in a container; where that is not to be seen, as we do. */
function readOf(pid: number, file: string): string | undefined {
  return readWithin(rootOf(pid), file);
}

function rootOf(pid: number): string {
  return readLink(`/proc/${pid}/root`) === undefined ? '/' : `/proc/${pid}/root`;
}

function lldpadFile(process: Process): string {
  const { args, pid } = process;
  const at = args.indexOf('-f');
  const file = at < 0 ? undefined : args[at + 1];
  return file === undefined ? LLDPAD_CONFIG : resolve(workingFolder(pid), file);
}

/** The agent's section of the configuration (libconfig), in it that of the interface, in it `adminStatus`: 1 sends, 3 does both. */
export function lldpadTransmits(text: string, link: string, scope: Scope): boolean {
  const agent = sectionOf(text, scope === 'nearest-bridge' ? 'lldp' : 'nearest_customer_bridge');
  const status = /\badminStatus\s*=\s*(\d)/.exec(sectionOf(agent ?? '', link) ?? '')?.[1];
  return status === '1' || status === '3';
}

/** What is between the braces of `name : { ... }`. */
function sectionOf(text: string, name: string): string | undefined {
  const escaped = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const begin = new RegExp(`(?:^|[\\s;{])"?${escaped}"?\\s*[:=]\\s*\\{`).exec(text);
  if (begin === null) return undefined;
  const from = begin.index + begin[0].length;
  let depth = 1;
  for (let at = from; at < text.length; at++) {
    if (text[at] === '{') depth++;
    else if (text[at] === '}' && --depth === 0) return text.slice(from, at);
  }
  return text.slice(from);
}

/** It speaks on the nearest bridge address unless it was told otherwise, which its files tell and lldpcli may have changed. */
function lldpdTransmits(scope: Scope): Pick<Agent, 'transmits' | 'file'> {
  const folder = '/etc/lldpd.d';
  const names = (listWithin('/', folder, FOLDER_MAX) ?? []).filter((name) => name.endsWith('.conf')).sort();
  const files = ['/etc/lldpd.conf', ...names.map((name) => join(folder, name))];
  let type = 'nearest-bridge';
  let file: string | undefined;
  for (const each of files) {
    for (const [, told] of (readWithin('/', each) ?? '').matchAll(LLDPD_AGENT_TYPE)) {
      type = told!;
      file = each;
    }
  }
  const wanted = scope === 'nearest-bridge' ? scope : `nearest-${scope}`;
  return { transmits: type === wanted, ...(file && { file }) };
}

const LLDPD_AGENT_TYPE = /^[ \t]*conf\S*[ \t]+lldp[ \t]+agent-type[ \t]+(\S+)/gm;

/** networkd hears LLDP on most interfaces; whether it sends says the .network file that it has chosen. */
function networkdOn(index: number, scope: Scope, { pid }: Process): Agent {
  const agent: Agent = { program: 'systemd-networkd', name: 'systemd-networkd', pid, ecp: false };
  const state = readOf(pid, `/run/systemd/netif/links/${index}`);
  const file = /^NETWORK_FILE=(.*)$/m.exec(state ?? '')?.[1];
  if (state === undefined) return agent;
  if (file === undefined) return { ...agent, transmits: false };
  const own = readOf(pid, file);
  const more = dropIns(pid, basename(file));
  // A file that cannot be read, or more of them than somebody would write, may say anything.
  if (own === undefined || more === undefined) return agent;
  return { ...agent, ...networkdTransmits(texts(), scope) };

  /** One at a time: each may be as long as it likes. */
  function* texts() {
    yield { path: file!, text: own! };
    for (const path of more!) yield { path, text: readOf(pid, path) ?? '' };
  }
}

/** The last word of `EmitLLDP=`, in the file that has it. */
export function networkdTransmits(
  texts: Iterable<{ path: string; text: string }>,
  scope: Scope,
): Pick<Agent, 'transmits' | 'file'> {
  let told: string | undefined;
  let file: string | undefined;
  for (const { path, text } of texts) {
    let section = '';
    for (const line of text.split('\n')) {
      section = /^\s*\[(.*)\]\s*$/.exec(line)?.[1] ?? section;
      const value = section === 'Network' ? /^\s*EmitLLDP\s*=\s*(\S*)/.exec(line)?.[1] : undefined;
      if (value === undefined) continue;
      told = value;
      file = path;
    }
  }
  const yes = ['yes', 'true', '1', 'on'].includes(told ?? '') ? 'nearest-bridge' : told;
  return { transmits: yes === scope, ...(file && { file }) };
}

/** In systemd's order: by name, and of the same name the first folder's; undefined: too many. */
function dropIns(pid: number, name: string): string[] | undefined {
  const folders = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'];
  const paths = new Map<string, string>();
  for (const folder of folders.map((each) => `${each}/systemd/network/${name}.d`)) {
    const names = listWithin(rootOf(pid), folder, FOLDER_MAX);
    if (names === undefined) return undefined;
    for (const file of names)
      if (file.endsWith('.conf') && !paths.has(file)) paths.set(file, join(folder, file));
  }
  if (paths.size > FOLDER_MAX) return undefined;
  return [...paths].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, path]) => path);
}

/** Links and VSIs as text for people. */

import type {
  Filter,
  LinkStatus,
  ProbeReport,
  RelayState,
  SlaveStatus,
  VsiState,
  VsiStatus,
} from '../model.ts';
import { type Colour, paint, printable, type Terminal, wrap } from './terminal.ts';

/** Columns of the field names that stand in front of a link's and a VSI's values. */
const FIELD = 11;

export function statusText(
  links: readonly LinkStatus[],
  vsis: readonly VsiStatus[],
  terminal: Terminal,
): string {
  if (links.length === 0) return 'evbd has no links: name uplinks or ports in its configuration\n';
  return links.map((link) => linkText(link, vsis, terminal)).join('\n');
}

function linkText(link: LinkStatus, vsis: readonly VsiStatus[], terminal: Terminal): string {
  const { name, role, mac, protocol, relay, relayReason, peer, timers, counters, slaves = [] } = link;
  const { leak, leakReason, members = [] } = link;
  const [colour, meaning] = RELAY[role][relay];
  const meanwhile =
    WITHOUT_RELAY.has(relay) && slaves.some(({ mode, vsi }) => mode === 'bridge' && vsi !== '');
  const page = new Page(terminal);
  page.line('bold', `${name}  ${role} ${mac === '' ? '(no such interface yet)' : mac}`);
  page.field('relay', relayReason === '' ? relay : `${relay}: ${relayReason}`, colour);
  page.field('', meanwhile ? SWITCHED : meaning);
  if (leak !== 'none') page.field('leak', `${leak}: ${leakReason}`, leak === 'open' ? 'yellow' : 'dim');
  if (members.length > 0) page.field('members', `${members.join(', ')} (these carry its frames)`);
  const { otherPeers, ...one } = peer;
  page.pairs('peer', peerText(one));
  if (otherPeers !== undefined) page.field('', othersText(Number(otherPeers)), 'yellow');
  page.field('protocol', PROTOCOL[protocol] ?? protocol);
  page.field('VSIs', census(vsis.filter((vsi) => vsi.link === name)));
  const told = new Set<string>();
  for (const [i, slave] of slaves.slice(0, SLAVES_SHOWN).entries()) {
    // What is to be known of all that have a VSI (ipvlan) is not said again and again.
    const again = slave.vsi !== '' && told.has(slave.reason);
    page.field(i === 0 ? 'slaves' : '', slaveText(again ? { ...slave, reason: 'likewise' } : slave));
    if (slave.vsi !== '' && slave.reason !== '') told.add(slave.reason);
  }
  // Of very many D-Bus tells the first and their number.
  const more = Math.max(slaves.length, counters['slaves'] ?? 0) - SLAVES_SHOWN;
  if (more > 0) page.field('', `and ${more} more (evbctl status ${name} --json)`);
  if (Object.keys(timers).length > 0) page.pairs('timers', timersText(timers));
  const counts = Object.entries(counters).filter(([, count]) => count > 0);
  page.pairs('counters', counts.map(([counter, count]) => `${counter} ${count}`).join(', ') || 'all zero');
  return page.text();
}

/** Slaves of a link that `status` lists. */
const SLAVES_SHOWN = 16;

function slaveText({ name, kind, mode, mac, vlan, namespace, vsi, reason }: SlaveStatus): string {
  const place = namespace < 0 ? '' : ` in namespace ${namespace}`;
  const address = mac === '' ? '' : ` ${mac}${vlan === 0 ? '' : `/${vlan}`}`;
  const verdict = [vsi === '' ? '' : `vsi ${vsi}`, reason].filter((text) => text !== '').join('; ');
  return `${name}${place} ${kind} ${mode}${address}${verdict === '' ? '' : `: ${verdict}`}`;
}

const PROTOCOL: Record<string, string> = {
  none: 'none: no EVB peer',
  ratified: 'ratified (802.1Q-2014, EVB and VDP)',
  draft: 'draft 0.2 (as before 802.1Qbg was ratified)',
};

/** What the state means to the guests. */
const RELAY: Record<LinkStatus['role'], Record<RelayState, [Colour, string]>> = {
  station: {
    active: ['green', 'VEPA guests here reach each other through the bridge'],
    assumed: ['yellow', 'nothing was negotiated; whether guests reach each other is up to the bridge'],
    requested: ['yellow', 'the bridge has not turned it on yet: VEPA guests here do not reach each other'],
    refused: ['red', 'VEPA guests here do not reach each other, only the rest of the network'],
    'no-peer': ['red', 'nobody to ask: VEPA guests here do not reach each other'],
    off: ['dim', 'VEPA guests here do not reach each other'],
  },
  bridge: {
    active: ['green', "frames between the station's guests are reflected"],
    assumed: ['yellow', "frames between the station's guests are reflected, whatever is negotiated"],
    requested: ['yellow', "frames between the station's guests are not reflected yet"],
    refused: ['red', "frames between the station's guests are not reflected"],
    'no-peer': ['dim', 'nobody asks for it'],
    off: ['dim', "frames between the station's guests are not reflected"],
  },
};

/** States in which slaves may be in bridge mode by evbd, which else gives none in bridge mode a VSI. */
const WITHOUT_RELAY = new Set<RelayState>(['requested', 'refused', 'no-peer']);
const SWITCHED = 'slaves that evbd has set to bridge mode reach each other, VEPA guests here do not';

/** What a probe found: in a sentence, with what follows from it, and in figures. */
export function probeText(report: ProbeReport, terminal: Terminal): string {
  const { link, reflects, enforced, sent, received, duplicates, vlan, addresses } = report;
  const page = new Page(terminal);
  page.hanging(4, `${link}: the bridge ${verdictOf(report)}`, reflects ? 'green' : 'red');
  if (enforced)
    page.field(
      'enforced',
      "it lets in only addresses that it knows; these frames came from the uplink's own",
    );
  if (duplicates > 0) {
    const copies = `${duplicates} ${duplicates === 1 ? 'copy' : 'copies'} too many came back`;
    page.field('beware', `${copies}: more than one bridge reflects or there is a loop`, 'red');
  }
  if (vlan > 0)
    page.field(
      'beware',
      `they come back with the tag of VLAN ${vlan}: untagged guests get none of them`,
      'red',
    );
  page.field('frames', `${sent} sent, ${received} came back`);
  const { latencyMin, latencyMedian = 0, latencyMax = 0 } = report;
  if (latencyMin !== undefined) {
    const [least, median, most] = [latencyMin, latencyMedian, latencyMax].map(secondsText);
    page.field('latency', `min ${least}, median ${median}, max ${most}`);
  }
  page.field('between', addresses.join(' and '));
  return page.text();
}

function verdictOf({ reflects, relay, duplicates }: ProbeReport): string {
  if (!reflects && duplicates > 0) return 'may reflect or not: frames come back in other ways';
  if (relay === 'active') return reflects ? 'reflects as it says' : 'says that it reflects but does not';
  if (relay === 'assumed') return reflects ? 'reflects as assumed' : 'is assumed to reflect but does not';
  return reflects
    ? `reflects although that is not negotiated (relay ${relay})`
    : `does not reflect (relay ${relay})`;
}

function census(vsis: readonly VsiStatus[]): string {
  const states = new Map<VsiState, number>();
  for (const { state } of vsis) states.set(state, (states.get(state) ?? 0) + 1);
  return [...states].map(([state, count]) => `${count} ${state}`).join(', ') || 'none';
}

export function secondsText(seconds: number): string {
  if (seconds < 0.001) return `${Number((seconds * 1e6).toFixed(0))} µs`;
  return seconds < 1 ? `${Number((seconds * 1000).toFixed(2))} ms` : `${Number(seconds.toFixed(3))} s`;
}

function peerText(peer: LinkStatus['peer']): string {
  return pairs(peer).join(', ') || 'none heard';
}

function othersText(count: number): string {
  const who =
    count === 1
      ? 'another neighbour that speaks EVB is not listened to'
      : `${count} other neighbours that speak EVB are not listened to`;
  return `${who}: more than one switch or host on the wire, or a guest`;
}

function timersText(timers: LinkStatus['timers']): string {
  return Object.entries(timers)
    .map(([timer, seconds]) => `${timer} ${secondsText(seconds)}`)
    .join(', ');
}

function pairs(record: Readonly<Record<string, string | number | boolean>>): string[] {
  return Object.entries(record).map(([key, value]) =>
    typeof value === 'boolean' ? `${value ? '' : 'no '}${key}` : `${key} ${value}`,
  );
}

const STATE_COLOUR: Record<VsiState, Colour> = {
  deassociated: 'dim',
  preassociating: 'yellow',
  preassociated: 'green',
  reserved: 'green',
  associating: 'yellow',
  associated: 'green',
  deassociating: 'yellow',
  failed: 'red',
};

/** States that need no explanation in a table. */
const SETTLED = new Set<VsiState>(['associated', 'preassociated', 'reserved']);

export function vsiTable(vsis: readonly VsiStatus[], terminal: Terminal): string {
  if (vsis.length === 0) return 'no VSIs\n';
  const rows = vsis.map((vsi) => [vsi.state, vsi.link, filtersText(vsi.filters), vsi.id]);
  const heads = ['STATE', 'LINK', 'MAC/VID', 'VSI'];
  const widths = heads.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]!.length)));
  const row = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd();
  const page = new Page(terminal);
  page.line('bold', row(heads));
  for (const [i, vsi] of vsis.entries()) {
    page.line(STATE_COLOUR[vsi.state], row(rows[i]!));
    if (!SETTLED.has(vsi.state) && vsi.reason !== '') page.indented(4, vsi.reason);
  }
  return page.text();
}

export function vsiText(vsi: VsiStatus, terminal: Terminal): string {
  const page = new Page(terminal);
  page.line('bold', `${vsi.id}  on ${vsi.link}`);
  page.field('state', `${vsi.state} since ${timeOfDay(vsi.since)}`, STATE_COLOUR[vsi.state]);
  if (vsi.reason !== '') page.field('reason', vsi.reason);
  for (const [i, filter] of vsi.filters.entries()) page.field(i === 0 ? 'filters' : '', filterText(filter));
  const profile = vsi.profile === '' ? '' : ` (profile ${vsi.profile})`;
  page.field('type', `0x${vsi.type.toString(16).padStart(6, '0')} version ${vsi.typeVersion}${profile}`);
  page.field('manager', vsi.manager);
  page.field('owner', vsi.owner);
  if (vsi.hint !== 'none') page.field('hint', `migrates ${vsi.hint} here`);
  for (const [i, { time, state, reason }] of vsi.history.entries()) {
    page.field(i === 0 ? 'history' : '', `${timeOfDay(time)}  ${state}`);
    if (reason !== '') page.indented(FIELD + 6, reason);
  }
  return page.text();
}

/** What changed of a link, a text each; `link` is what is known of it. Counters are for `status`. */
export function linkChanges(changes: Partial<LinkStatus>, link: Partial<LinkStatus> = {}): string[] {
  const { mac, role, protocol, peer, timers } = changes;
  const { relay, relayReason } = { ...link, ...changes };
  const relayToo = changes.relay !== undefined || changes.relayReason !== undefined;
  return [
    ...(mac === undefined ? [] : [mac === '' ? 'the interface is gone' : `address ${mac}`]),
    ...(role === undefined ? [] : [`role ${role}`]),
    ...(relayToo ? [`relay${relay === undefined ? '' : ` ${relay}`}${because(relayReason)}`] : []),
    ...(protocol === undefined ? [] : [`protocol ${protocol}`]),
    ...(peer === undefined ? [] : [`peer ${peerText(peer)}`]),
    ...(timers === undefined ? [] : [`timers ${timersText(timers)}`]),
  ];
}

/** What changed of a VSI; `vsi` is what is known of it. */
export function vsiChanges(changes: Partial<VsiStatus>, vsi: Partial<VsiStatus> = {}): string[] {
  const { state, reason } = { ...vsi, ...changes };
  const stateToo = changes.state !== undefined || changes.reason !== undefined;
  const { filters, owner, profile, hint } = changes;
  return [
    ...(stateToo ? [state === undefined ? (reason ?? '') : `${state}${because(reason)}`] : []),
    ...(filters === undefined ? [] : [`filters ${filters.map(filterText).join(', ')}`]),
    ...(owner === undefined ? [] : [`owner ${owner}`]),
    ...(profile === undefined ? [] : [`profile ${profile || 'none'}`]),
    ...(hint === undefined ? [] : [`hint ${hint}`]),
  ];
}

export const because = (reason: string | undefined) => (reason ? `: ${reason}` : '');

/** Something that happened, on lines that fit; those behind the first are indented. */
export function eventText(microseconds: number, text: string, terminal: Terminal): string {
  const page = new Page(terminal);
  page.hanging(4, `${timeOfDay(microseconds)} ${text}`);
  return page.text();
}

/** One line for a VSI that has just got its answer. */
export function vsiLine(vsi: Pick<VsiStatus, 'link' | 'state' | 'id' | 'filters'>): string {
  return `${vsi.link}: ${vsi.state} ${filtersText(vsi.filters)} vsi ${vsi.id}`;
}

/** `[MAC/]VID[/GROUP][@PCP]`, as `--filter` takes it. */
function filterText({ mac, vid, group, pcp }: Filter): string {
  const head = mac === undefined ? '' : `${mac}/`;
  return `${head}${vid}${group === undefined ? '' : `/${group}`}${pcp === undefined ? '' : `@${pcp}`}`;
}

function filtersText([first, ...more]: readonly Filter[]): string {
  if (first === undefined) return '-';
  return filterText(first) + (more.length > 0 ? ` +${more.length}` : '');
}

/** Local time of microseconds since the epoch: `2025-11-21 01:30:00.123`. */
export function timeOfDay(microseconds: number): string {
  const date = new Date(microseconds / 1000);
  if (Number.isNaN(date.getTime())) return '-';
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${day} ${time}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** Lines of text no wider than the terminal, except for what must not be broken. */
class Page {
  readonly #terminal: Terminal;
  readonly #lines: string[] = [];

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  line(colour: Colour | undefined, text: string): void {
    this.#lines.push(paint(this.#terminal, colour, printable(this.#terminal, text)));
  }

  field(name: string, value: string, colour?: Colour): void {
    this.#put(name, this.#wrapped(value, FIELD + 2), colour);
  }

  /** Names with their values, behind commas. */
  pairs(name: string, value: string): void {
    this.#put(name, this.#wrappedPairs(value, FIELD + 2));
  }

  #put(name: string, [first = '', ...more]: readonly string[], colour?: Colour): void {
    this.#lines.push(`  ${name.padEnd(FIELD)}${paint(this.#terminal, colour, first)}`);
    for (const line of more) this.#lines.push(`  ${' '.repeat(FIELD)}${line}`);
  }

  indented(columns: number, text: string): void {
    for (const line of this.#wrapped(text, columns)) this.#lines.push(`${' '.repeat(columns)}${line}`);
  }

  /** Lines behind the first are indented. */
  hanging(columns: number, text: string, colour?: Colour): void {
    for (const [i, line] of this.#wrappedPairs(text, columns).entries())
      this.#lines.push(paint(this.#terminal, colour, i === 0 ? line : `${' '.repeat(columns)}${line}`));
  }

  text(): string {
    return this.#lines.map((line) => `${line.trimEnd()}\n`).join('');
  }

  #wrapped(text: string, indent: number): string[] {
    return wrap(this.#shown(text), this.#terminal.columns - indent);
  }

  /** Broken behind commas where there are any, so that the name and the value of a pair stay together. */
  #wrappedPairs(text: string, indent: number): string[] {
    const shown = this.#shown(text);
    if (!shown.includes(', ')) return this.#wrapped(text, indent);
    const width = this.#terminal.columns - indent;
    // A blank that must not break is, for as long as it takes, a character that no text has here.
    const pairs = shown.replace(/(?<!,) /g, '\0');
    return wrap(pairs, width, true).flatMap((line) => wrap(line.replaceAll('\0', ' '), width));
  }

  #shown(text: string): string {
    return printable(this.#terminal, this.#terminal.unicode ? text : text.replaceAll('µ', 'u'));
  }
}

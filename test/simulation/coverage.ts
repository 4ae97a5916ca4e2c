import { EcpReceiver, EcpTransmitter } from '../../protocols/ecp/index.ts';
import { EvbBridge, EvbDraft, EvbStation } from '../../protocols/evb/index.ts';
import { LldpAgent } from '../../protocols/lldp-agent/index.ts';
import { decodeStatus, VsiBridge, VsiStation } from '../../protocols/vdp/index.ts';
import type { Call, Effect as WitnessedEffect } from './witness.ts';

type Effect = WitnessedEffect & { end?: string; event?: string; reason?: string };
type Method = (this: object, ...args: never[]) => Effect[] | undefined;

/** Which transitions the machines have made, as `machine: state, cause, state`. The machines are watched, not changed. */
export class Coverage {
  readonly seen = new Map<string, number>();
  /** Told of each call. */
  onCall: (call: Call) => void = () => {};
  readonly #undo: (() => void)[] = [];

  constructor() {
    const vsi = (machine: { state: string }) => machine.state;
    this.#watch(VsiStation, 'VSI station', vsi, {
      command: ([{ request }]) => `command ${request}`,
      receive: ([tlv]) => answer(tlv),
      advance: () => 'timer',
      refresh: () => 'refresh',
      resume: () => 'resume',
      reset: () => 'reset',
    });
    this.#watch(VsiBridge, 'VSI bridge', vsi, {
      request: ([{ request }]) => request,
      resource: ([{ outcome }]) => `resource ${outcome}`,
      remove: () => 'remove',
      lost: () => 'lost',
      advance: () => 'timer',
      resume: () => 'resume',
    });
    this.#watch(EcpTransmitter, 'ECP transmit', vsi, {
      request: () => 'request',
      ack: () => 'ack',
      advance: () => 'timer',
      reset: () => 'reset',
    });
    this.#watch(EcpReceiver, 'ECP receive', vsi, { request: () => 'request', reset: () => 'reset' });
    const lldp = {
      setPortEnabled: ([enabled]: [boolean]) => `port ${enabled ? 'enabled' : 'disabled'}`,
      receive: () => 'LLDPDU',
      advance: () => 'timer',
      localChanged: () => 'local change',
      resume: () => 'resume',
      setAdminStatus: () => 'admin status',
    };
    const sent = ({ kind }: Effect) => (kind === 'send' ? 'sends' : '');
    this.#watch(LldpAgent, 'LLDP receive', ({ rxState }) => rxState, lldp);
    this.#watch(LldpAgent, 'LLDP transmit', ({ txState }) => txState, lldp, sent);
    this.#watch(LldpAgent, 'LLDP tx timer', ({ txTimerState }) => txTimerState, lldp, sent);
    const peer = ({ remote }: EvbStation | EvbBridge) => (remote === undefined ? 'no peer' : 'peer');
    const evb = { receive: () => 'TLV', lost: () => 'lost', setPolicy: () => 'policy' };
    this.#watch(EvbStation, 'EVB station', peer, evb);
    this.#watch(EvbBridge, 'EVB bridge', peer, { ...evb, applied: () => 'applied' });
    const draft = ({ remote, vdpAgreed }: EvbDraft) =>
      remote === undefined ? 'no peer' : vdpAgreed ? 'VDP agreed' : 'peer';
    this.#watch(EvbDraft, 'EVB draft', draft, { ...evb, applied: () => 'applied' });
  }

  stop(): void {
    for (const undo of this.#undo) undo();
  }

  #watch<M extends object>(
    machine: { prototype: M },
    name: string,
    state: (machine: M) => string,
    // biome-ignore lint/suspicious/noExplicitAny: the arguments of many methods
    causes: Record<string, (args: any) => string>,
    what: (effect: Effect) => string = brief,
  ): void {
    const prototype = machine.prototype as Record<string, Method>;
    for (const [method, cause] of Object.entries(causes)) {
      const original = prototype[method]!;
      const { seen } = this;
      const coverage = this;
      prototype[method] = function (this: object, ...args: never[]) {
        const before = state(this as M);
        const effects = original.apply(this, args);
        const after = state(this as M);
        let told = cause(args);
        let quiet = true;
        for (const effect of effects ?? []) {
          const text = what(effect);
          if (text === '') continue;
          told += ` ${text}`;
          quiet = false;
        }
        if (quiet && before === after && method === 'advance') return effects;
        const key = `${name}: ${before}, ${told}, ${after}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
        coverage.onCall({ machine: this, method, args, effects: effects ?? [] });
        return effects;
      };
      this.#undo.push(() => {
        prototype[method] = original;
      });
    }
  }
}

/** Of an effect what tells one row of a table from another. */
function brief({ kind, end, event, reason }: Effect): string {
  if (kind === 'ended') return end === undefined ? '' : `[${end}]`;
  if (kind === 'neighbour') return `[${event}]`;
  if (kind === 'neighbourGone') return `[gone: ${reason}]`;
  return TOLD.has(kind) ? kind : '';
}

const TOLD = new Set([
  'kept',
  'undelivered',
  'delivered',
  'indicate',
  'up',
  'down',
  'peerRestarted',
  'relay',
]);

function answer({ request, status }: { request: string; status: number }): string {
  const { ack, error, keep } = decodeStatus(status);
  if (!ack) return `${request} unsolicited`;
  return `${request} ${error === 0 ? 'success' : keep ? 'keep' : 'error'}`;
}

const P = 'STATION_PROCESSING';
const W = 'WAIT_SYSTEM_CMD';
const K = 'TRANSMIT_KEEPALIVE';
const D = 'TRANSMIT_DEASSOC';
const asked = ['preassociate', 'reserve', 'associate'];

/** The rows of docs/protocol that a simulation can reach, with what the machines pass through within a call left out. */
export const TABLES: Record<string, string[]> = {
  'VSI station': [
    ...asked.map((request) => `INIT, command ${request}, ${P}`),
    'INIT, command deassociate [asked], INIT',
    ...[...asked, 'deassociate'].flatMap((request) => [
      `${P}, command ${request}, ${P}`,
      `${W}, command ${request}, ${P}`,
      `${K}, command ${request}, ${K}`,
    ]),
    ...asked.flatMap((request) => [
      `${P}, ${request} success, ${W}`,
      `${K}, ${request} success, ${W}`,
      `${P}, ${request} success [mismatch], INIT`,
    ]),
    `${P}, associate keep kept, ${W}`,
    `${P}, associate keep [refused], INIT`,
    `${P}, deassociate success [asked], INIT`,
    `${P}, deassociate success [asked], ${P}`,
    `${P}, deassociate error [refused], INIT`,
    `${P}, deassociate unsolicited [refused], INIT`,
    `${P}, timer [timeout], INIT`,
    `${P}, timer [timeout], ${P}`,
    `${P}, timer [asked], INIT`,
    `${P}, refresh, ${P}`,
    `${W}, timer, ${K}`,
    `${W}, refresh, ${K}`,
    `${W}, deassociate unsolicited [bridge], INIT`,
    `INIT, resume, ${W}`,
    `${K}, deassociate unsolicited [bridge], INIT`,
    `${K}, deassociate error [refused], INIT`,
    `${K}, timer [timeout], INIT`,
    `${K}, refresh, ${K}`,
    `${K}, associate keep, ${D}`,
    `${D}, deassociate success [refused], INIT`,
    `${D}, timer [refused], INIT`,
  ],
  'VSI bridge': [
    ...asked.map((request) => `INIT, ${request}, BRIDGE_PROCESSING`),
    'INIT, deassociate, END',
    ...[...asked, 'deassociate'].map((request) => `BRIDGE_PROCESSING, ${request}, BRIDGE_PROCESSING`),
    ...[...asked, 'deassociate'].map((request) => `WAIT_STATION_CMD, ${request}, BRIDGE_PROCESSING`),
    ...asked.map((request) => `WAIT_STATION_CMD, ${request}, WAIT_STATION_CMD`),
    'WAIT_STATION_CMD, deassociate kept, WAIT_STATION_CMD',
    'BRIDGE_PROCESSING, resource success, WAIT_STATION_CMD',
    'BRIDGE_PROCESSING, resource success, BRIDGE_PROCESSING',
    'BRIDGE_PROCESSING, resource keep kept, WAIT_STATION_CMD',
    'BRIDGE_PROCESSING, resource deassoc, END',
    'BRIDGE_PROCESSING, resource success, END',
    'BRIDGE_PROCESSING, timer kept, WAIT_STATION_CMD',
    'BRIDGE_PROCESSING, timer, END',
    'BRIDGE_PROCESSING, remove, END',
    'BRIDGE_PROCESSING, lost, END',
    'WAIT_STATION_CMD, timer, END',
    'WAIT_STATION_CMD, remove, END',
    'WAIT_STATION_CMD, lost, END',
    'INIT, resume, WAIT_STATION_CMD',
  ],
  'ECP transmit': [
    'WAIT_FOR_REQ, request, TRANSMIT_ECPDU',
    'TRANSMIT_ECPDU, ack delivered, WAIT_FOR_REQ',
    'TRANSMIT_ECPDU, ack, TRANSMIT_ECPDU',
    'WAIT_FOR_REQ, ack, WAIT_FOR_REQ',
    'TRANSMIT_ECPDU, timer undelivered, WAIT_FOR_REQ',
    'TRANSMIT_ECPDU, reset, WAIT_FOR_REQ',
  ],
  'ECP receive': [
    'RECEIVE_WAIT, request indicate, RECEIVE_WAIT_2',
    'RECEIVE_WAIT_2, request indicate, RECEIVE_WAIT_2',
    'RECEIVE_WAIT_2, request, RECEIVE_WAIT_2',
    'RECEIVE_WAIT, request, RECEIVE_WAIT',
    'RECEIVE_WAIT_2, reset, RECEIVE_WAIT',
  ],
  'LLDP tx timer': [
    'TX_TIMER_INITIALIZE, port enabled sends, TX_TIMER_IDLE',
    'TX_TIMER_IDLE, timer sends, TX_TIMER_IDLE',
    'TX_TIMER_IDLE, local change sends, TX_TIMER_IDLE',
    'TX_TIMER_IDLE, port disabled, TX_TIMER_INITIALIZE',
    'TX_TIMER_IDLE, admin status sends, TX_TIMER_INITIALIZE',
  ],
  'LLDP transmit': [
    'TX_LLDP_INITIALIZE, port enabled sends, TX_IDLE',
    'TX_IDLE, timer sends, TX_IDLE',
    'TX_IDLE, local change sends, TX_IDLE',
    'TX_IDLE, local change, TX_IDLE',
    'TX_IDLE, port disabled, TX_LLDP_INITIALIZE',
    'TX_IDLE, admin status sends, TX_SHUTDOWN_FRAME',
    'TX_SHUTDOWN_FRAME, port disabled, TX_LLDP_INITIALIZE',
    'TX_SHUTDOWN_FRAME, timer, TX_LLDP_INITIALIZE',
  ],
  'LLDP receive': [
    'LLDP_WAIT_PORT_OPERATIONAL, port enabled, RX_WAIT_FOR_FRAME',
    'LLDP_WAIT_PORT_OPERATIONAL, resume [new], LLDP_WAIT_PORT_OPERATIONAL',
    ...['[new]', '[changed]', '[refreshed]', '[gone: shutdown LLDPDU]'].map(
      (news) => `RX_WAIT_FOR_FRAME, LLDPDU ${news}, RX_WAIT_FOR_FRAME`,
    ),
    'RX_WAIT_FOR_FRAME, LLDPDU, RX_WAIT_FOR_FRAME',
    'RX_WAIT_FOR_FRAME, timer [gone: its TTL ran out], RX_WAIT_FOR_FRAME',
    'RX_WAIT_FOR_FRAME, port disabled [gone: link down], LLDP_WAIT_PORT_OPERATIONAL',
    'RX_WAIT_FOR_FRAME, port disabled, LLDP_WAIT_PORT_OPERATIONAL',
    'RX_WAIT_FOR_FRAME, admin status [gone: LLDP is off on this side], RX_LLDP_INITIALIZE',
    'RX_WAIT_FOR_FRAME, admin status, RX_LLDP_INITIALIZE',
    'RX_LLDP_INITIALIZE, port disabled, LLDP_WAIT_PORT_OPERATIONAL',
  ],
  'EVB station': [
    'no peer, TLV up, peer',
    'no peer, TLV up relay, peer',
    'peer, TLV relay, peer',
    'peer, TLV peerRestarted, peer',
    'peer, TLV peerRestarted relay, peer',
    'peer, lost down, no peer',
    'peer, lost down relay, no peer',
    'peer, policy, peer',
  ],
  'EVB bridge': [
    'no peer, TLV up, peer',
    'no peer, TLV up relay, peer',
    'peer, TLV relay, peer',
    'peer, lost down, no peer',
    'peer, lost down relay, no peer',
    'peer, policy relay, peer',
    'peer, applied, peer',
  ],
  'EVB draft': [
    'no peer, TLV up, VDP agreed',
    'no peer, TLV up relay, VDP agreed',
    'VDP agreed, TLV relay, VDP agreed',
    'VDP agreed, TLV peerRestarted, VDP agreed',
    'VDP agreed, TLV peerRestarted relay, VDP agreed',
    'VDP agreed, lost down, no peer',
    'VDP agreed, lost down relay, no peer',
    'VDP agreed, policy relay, VDP agreed',
    'VDP agreed, applied, VDP agreed',
    'VDP agreed, TLV, peer',
    'no peer, TLV up, peer',
    'peer, TLV peerRestarted, VDP agreed',
  ],
};

/** Why rows may be missing even in a long run. */
const WHY: Record<string, string> = {
  ...every(
    [
      `VSI station: ${K}, associate keep, ${D}`,
      `VSI station: ${D}, deassociate success [refused], INIT`,
      `VSI station: ${D}, timer [refused], INIT`,
    ],
    'Our bridge answers no keepalive with Keep; only a garbled answer leads there (test/vdp/station.test.ts).',
  ),
  ...every(
    ['ECP receive: RECEIVE_WAIT, request, RECEIVE_WAIT'],
    'Takes a garbled subtype in the first ECPDU of a peer (test/ecp/receiver.test.ts).',
  ),
  ...every(
    ['LLDP transmit: TX_SHUTDOWN_FRAME, timer, TX_LLDP_INITIALIZE'],
    'A daemon that says goodbye closes its port at once (test/lldp/agent.test.ts).',
  ),
  ...every(
    [
      'EVB draft: VDP agreed, TLV, peer',
      'EVB draft: no peer, TLV up, peer',
      'EVB draft: peer, TLV peerRestarted, VDP agreed',
    ],
    'Our draft always offers ECP and VDP; only a garbled TLV does not (test/pair/draft.test.ts).',
  ),
};

function every(rows: readonly string[], why: string): Record<string, string> {
  return Object.fromEntries(rows.map((row) => [row, why]));
}

/** The rows of a machine's table that are not among the transitions `seen`, and why. */
export function missing(machine: string, seen: ReadonlyMap<string, number>): { row: string; why: string }[] {
  return TABLES[machine]!.filter((row) => !seen.has(`${machine}: ${row}`)).map((row) => ({
    row,
    why: WHY[`${machine}: ${row}`] ?? 'Rare: more seeds make it.',
  }));
}

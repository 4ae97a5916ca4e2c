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
    this.#watch(
      LldpAgent,
      'LLDP',
      ({ txTimerState, txState, rxState }) => `${txTimerState} ${txState} ${rxState}`,
      {
        setPortEnabled: ([enabled]) => `port ${enabled ? 'enabled' : 'disabled'}`,
        receive: () => 'LLDPDU',
        advance: () => 'timer',
        localChanged: () => 'local change',
        resume: () => 'resume',
        setAdminStatus: () => 'admin status',
      },
    );
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
    causes: Record<string, (args: any[]) => string>,
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
          const text = brief(effect);
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
const idle = 'TX_TIMER_IDLE TX_IDLE RX_WAIT_FOR_FRAME';
const off = 'TX_TIMER_INITIALIZE TX_LLDP_INITIALIZE LLDP_WAIT_PORT_OPERATIONAL';

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
  LLDP: [
    `${off}, port enabled, ${idle}`,
    `${idle}, port disabled, ${off}`,
    `${idle}, port disabled [gone: link down], ${off}`,
    `${off}, resume [new], ${off}`,
    `${idle}, LLDPDU [new], ${idle}`,
    `${idle}, LLDPDU [changed], ${idle}`,
    `${idle}, LLDPDU [refreshed], ${idle}`,
    `${idle}, LLDPDU, ${idle}`,
    `${idle}, LLDPDU [gone: shutdown LLDPDU], ${idle}`,
    `${idle}, timer [gone: its TTL ran out], ${idle}`,
    `${idle}, local change, ${idle}`,
    `${idle}, admin status, TX_TIMER_INITIALIZE TX_SHUTDOWN_FRAME RX_LLDP_INITIALIZE`,
    `${idle}, admin status [gone: LLDP is off on this side], TX_TIMER_INITIALIZE TX_SHUTDOWN_FRAME RX_LLDP_INITIALIZE`,
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
};

/** Why rows may be missing even in a long run. */
const WHY: Record<string, string> = {};

/** The rows of a machine's table that are not among the transitions `seen`, and why. */
export function missing(machine: string, seen: ReadonlyMap<string, number>): { row: string; why: string }[] {
  return TABLES[machine]!.filter((row) => !seen.has(`${machine}: ${row}`)).map((row) => ({
    row,
    why: WHY[`${machine}: ${row}`] ?? 'Rare: more seeds make it.',
  }));
}

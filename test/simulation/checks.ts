import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  decodeStatus,
  sameAttributes,
  type VsiCommand,
  type VsiTlv,
  vsiKey,
} from '../../protocols/vdp/index.ts';
import type { Station } from '../../src/station/station.ts';
import type { StationVsi } from '../../src/station/vsi.ts';
import type { Pair } from './pair.ts';
import { dialectOf, operationalTimers } from './plan.ts';
import type { Users } from './users.ts';
import { fail } from './violation.ts';
import { type Side, type Word, wordsOf } from './words.ts';

/** What the station has read of an association: granted, kept as it was, ended without having been asked. */
interface Known {
  at: number;
  what: 'granted' | 'kept' | 'ended';
  word: Word;
}

/** What is known of the past of one link. */
interface Past {
  known: Map<string, Known[]>;
  /** When the station last learnt that the bridge may know nothing. */
  lossKnown: number;
  wasUp: boolean;
  /** LldpNeighbour.key of the EVB peer that was there last. */
  peer: string | undefined;
  /** The daemon that was looked at last, and what was associated at it. */
  machine: object | undefined;
  associated: Set<string>;
  /** VSIs that the PDU read last has more than one word about. */
  inOneBreath: Set<string>;
}

/** src/station asks for everything at most once a second. */
const ASK_ALL_PAUSE = 1_000;
const FAILED_MAX = 64;
const NEIGHBOURS_MAX = 8;
const TLVS_PER_ECPDU = 60;
const KNOWN_MAX = 256;
const HISTORY_MAX = 32;

export class Checks {
  readonly users: Users;
  /** Why wishes ended that nobody gave up. */
  readonly reasons: string[] = [];
  /** Those wishes, until they are asked for again. */
  readonly dropped: { pair: Pair; key: string; command: VsiCommand }[] = [];
  readonly #past = new Map<Pair, Past>();

  constructor(pairs: readonly Pair[], users: Users) {
    this.users = users;
    for (const pair of pairs) {
      this.#past.set(pair, {
        known: new Map(),
        lossKnown: 0,
        wasUp: false,
        peer: undefined,
        machine: undefined,
        associated: new Set(),
        inOneBreath: new Set(),
      });
    }
  }

  sent(pair: Pair, from: Side, words: readonly Word[]): void {
    if (from === 'station') return;
    for (const { tlv } of words) {
      const { ack, error } = decodeStatus(tlv.status);
      if (ack && error === 0 && tlv.request === 'associate') this.#answered(pair, tlv);
    }
  }

  /** Nobody is told what is not so: addresses are in the FDB when their VSI is confirmed. */
  #answered(pair: Pair, tlv: VsiTlv): void {
    const { machine } = pair.bridge;
    if (!pair.plan.enforce || machine === undefined) return;
    // Of what happened while it slept it knows when it has read it.
    if (pair.bridge.catchingUp) return;
    for (const { mac } of tlv.filters) {
      const at = mac === undefined ? undefined : pair.port.bridge.entries.get(mac);
      if (at !== pair.port) fail(pair, `associate of ${mac} is confirmed, the kernel does not let it in`);
    }
  }

  /** What ECP hands to VDP, before VDP knows it. */
  indicated(pair: Pair, side: Side, ulpdu: Uint8Array): void {
    const machine = pair.station.machine;
    if (side === 'bridge' || !machine?.vdpUp) return;
    const { known, inOneBreath } = this.#past.get(pair)!;
    const { dialect } = machine.port!;
    const seen = new Set<string>();
    inOneBreath.clear();
    for (const word of wordsOf(ulpdu, 'station', dialect) ?? []) {
      const { tlv, manager } = word;
      const { ack, error, keep } = decodeStatus(tlv.status);
      const key = vsiKey(tlv);
      if (seen.has(key)) inOneBreath.add(key);
      seen.add(key);
      const wish = pair.wishes.get(key);
      const yes = error === 0 && tlv.request === wish?.request && sameAttributes(wish, { ...tlv, manager });
      if (!yes) pair.denied.add(key);
      let what: Known['what'] | undefined;
      if (ack && tlv.request === 'associate') what = error === 0 ? 'granted' : keep ? 'kept' : undefined;
      // The draft does not tell an answer from what nobody asked for.
      else if (!ack && tlv.request === 'deassociate' && dialect === 'ratified') what = 'ended';
      if (what === undefined) continue;
      known.set(key, [...(known.get(key) ?? []).slice(1 - KNOWN_MAX), { at: pair.station.now, what, word }]);
    }
  }

  peerRestarted(pair: Pair): void {
    this.#past.get(pair)!.lossKnown = pair.station.now;
  }

  settled(pair: Pair, number: number, error: { name: string; message: string } | undefined): void {
    const ticket = this.users.tickets.get(number);
    if (ticket === undefined) fail(pair, `ticket ${number} is settled twice, or by a daemon that was killed`);
    this.users.tickets.delete(number);
    const vsi = pair.station.machine!.vsis.get(ticket.key);
    // A garbled ECPDU may confirm a VSI and end it in one breath.
    const clear = error === undefined && !this.#past.get(pair)!.inOneBreath.has(ticket.key);
    if (clear && ticket.command === undefined && vsi !== undefined) {
      fail(pair, `ticket ${number}: ${ticket.key} is said to have ended and is ${vsi.state}`);
    }
    if (clear && ticket.command !== undefined && !vsi?.machine.holds(ticket.command)) {
      fail(
        pair,
        `ticket ${number}: ${ticket.key} is said to be ${ticket.command.request}d and is ${vsi?.state}`,
      );
    }
    // Not even begun: what was wished before still is.
    if (error?.name === 'NotReady' && vsi !== undefined && !vsi.failed) {
      if (ticket.before === undefined) pair.wishes.delete(ticket.key);
      else pair.wishes.set(ticket.key, ticket.before);
    }
    ticket.done();
  }

  /** What a user wanted outlives a kill, and nothing older comes back in its place. */
  recalled(pair: Pair, unheard: ReadonlySet<string>): void {
    const { vsis } = pair.station.store;
    for (const [key, command] of pair.wishes) {
      const stored = vsis.get(key)?.wanted;
      const same = stored?.request === command.request && sameAttributes(stored, command);
      if (!same && !unheard.has(key))
        fail(pair, `${command.request} of ${key} is wanted, the store has ${stored?.request}`);
    }
  }

  /** After every event. */
  look(pair: Pair): void {
    const { machine } = pair.station;
    if (machine !== undefined) this.#station(pair);
    if (pair.bridge.machine !== undefined) this.#bridge(pair);
  }

  #station(pair: Pair): void {
    const { wishes, station, plan } = pair;
    const machine = station.machine!;
    const past = this.#past.get(pair)!;
    const { now } = station;
    // Another peer may take the place in the moment in which the one before is lost.
    const peer = machine.port?.peer?.key;
    if (machine.vdpUp && (!past.wasUp || peer !== past.peer)) past.lossKnown = now;
    past.wasUp = machine.vdpUp;
    past.peer = peer;
    if (!station.frozen && machine.nextDeadline() > now && station.due <= now)
      fail(pair, 'deadline in the past');
    if (machine.vsis.size > plan.stationVsis + FAILED_MAX)
      fail(pair, `${machine.vsis.size} VSIs at the station`);
    this.#memory(pair, 'station');
    for (const [key, command] of wishes) {
      const vsi = machine.vsis.get(key);
      if (vsi?.wanted === undefined) this.#drop(pair, key, command, vsi?.history.last?.reason);
      else if (!vsi.asks(command)) {
        const reason = vsi.history.last?.reason ?? '';
        // A change that was refused: what is wanted is again what was in force.
        this.#justified(pair, key, reason);
        wishes.set(key, vsi.wanted);
      }
    }
    this.#granted(pair, past, now);
    // What it should have done by now it has not been able to do.
    const late = station.frozen || station.due <= now;
    const waiting = new Set<number>();
    for (const vsi of machine.vsis.values()) {
      const { key, wanted, tickets, state } = vsi;
      if (wanted !== undefined && !wishes.has(key)) fail(pair, `${key} is wanted by nobody`);
      if (vsi.history.transitions.length > HISTORY_MAX) fail(pair, `history of ${key} grows`);
      for (const ticket of tickets) waiting.add(ticket);
      const atRest = vsi.machine.state === 'INIT' || vsi.machine.state === 'WAIT_SYSTEM_CMD';
      if (vsi.machine.state === 'INIT') {
        if (wanted === undefined && !vsi.failed) fail(pair, `${key} is over and not forgotten`);
        // What the bridge cannot be asked for waits until it can.
        const asked = wanted !== undefined && askable(machine, vsi, wanted);
        if (asked && machine.vdpUp && !Number.isFinite(vsi.retryAt)) {
          fail(pair, `${key} is wanted, nothing is under way: ${vsi.history.last?.reason}`);
        }
      } else if (!Number.isFinite(vsi.machine.nextDeadline()))
        fail(pair, `${key} waits without end in ${vsi.machine.state}`);
      if (
        vsi.machine.state === 'WAIT_SYSTEM_CMD' &&
        machine.vdpUp &&
        !(wanted && vsi.machine.holds(wanted))
      ) {
        // asked for all of it is at most a second later
        if (!late && now > past.lossKnown + ASK_ALL_PAUSE)
          fail(pair, `${key} rests in ${state}, wanted is ${wanted?.request}`);
      }
      if (state === 'associated' && !late) this.#associated(pair, key, past, now);
      const resting = vsi.machine.state === 'WAIT_SYSTEM_CMD' && machine.vdpUp && !late;
      if (resting && vsi.unconfirmed && now > past.lossKnown + ASK_ALL_PAUSE)
        fail(pair, `${key} is ${state}, unconfirmed, and the bridge that is back is not asked`);
      if (
        tickets.length > 0 &&
        atRest &&
        vsi.machine.state !== 'INIT' &&
        wanted &&
        vsi.machine.holds(wanted)
      ) {
        fail(pair, `tickets ${tickets} of ${key} wait for nothing`);
      }
      if (tickets.length > 0 && wanted === undefined && vsi.machine.state === 'INIT') {
        fail(pair, `tickets ${tickets} of ${key} wait for a VSI that is over`);
      }
    }
    for (const [number, ticket] of this.users.tickets) {
      if (ticket.pair === pair && !waiting.has(number)) fail(pair, `ticket ${number} is open and forgotten`);
    }
  }

  /** What becomes associated, other than by being taken over from the run before, does so by an answer that was read just now. */
  #granted(pair: Pair, past: Past, now: number): void {
    const machine = pair.station.machine!;
    const before = past.machine === machine ? past.associated : undefined;
    past.machine = machine;
    past.associated = new Set();
    for (const { key, state } of machine.vsis.values()) {
      if (state !== 'associated') continue;
      past.associated.add(key);
      if (before === undefined || before.has(key)) continue;
      const last = past.known.get(key)?.at(-1);
      if (last === undefined || last.at !== now || last.what === 'ended')
        fail(pair, `${key} has become associated without an answer`);
    }
  }

  /** Reported associated: confirmed, and confirmed again since the last loss of state that the station could know of. */
  #associated(pair: Pair, key: string, past: Past, now: number): void {
    const machine = pair.station.machine!;
    const vsi = machine.vsis.get(key)!;
    const inForce = vsi.machine.operCmd!;
    const asking = vsi.machine.state === 'TRANSMIT_KEEPALIVE';
    if (!machine.vdpUp) {
      if (!vsi.unconfirmed && !asking)
        fail(pair, `${key} is associated, its bridge is gone, it does not say so`);
      return;
    }
    const known = past.known.get(key) ?? [];
    const isIt = ({ tlv, manager }: Word) => sameAttributes(inForce, { ...tlv, manager });
    const last = known.findLast(({ what, word }) => what === 'kept' || isIt(word));
    if (last?.what === 'ended' && vsi.machine.state === 'WAIT_SYSTEM_CMD')
      fail(pair, `${key} is associated, the bridge has said that it ended`);
    if (!known.some(({ what, word }) => what === 'granted' && isIt(word)))
      fail(pair, `${key} is associated and was never confirmed so`);
    if (vsi.unconfirmed || asking || now <= past.lossKnown + ASK_ALL_PAUSE) return;
    if (last === undefined || last.at < past.lossKnown)
      fail(pair, `${key} is associated, but not confirmed since its bridge was lost`);
  }

  #drop(pair: Pair, key: string, command: VsiCommand, reason = 'forgotten'): void {
    const vsi = pair.station.machine!.vsis.get(key);
    if (!vsi?.failed) fail(pair, `${key} is wanted and given up without a word: ${reason}`);
    this.#justified(pair, key, reason);
    pair.wishes.delete(key);
    this.reasons.push(reason);
    this.dropped.push({ pair, key, command });
    pair.trace(`wish ${key} dropped: ${reason}`);
  }

  /** A wish ends, or is put back, only by a word of the bridge, or for want of words or of an agreement. */
  #justified(pair: Pair, key: string, reason: string): void {
    if (pair.denied.has(key) || reason.includes('group ids') || reason.includes('draft 0.2')) return;
    fail(pair, `the wish for ${key} was dropped, the bridge had not refused it: ${reason}`);
  }

  #bridge(pair: Pair): void {
    const { bridge, port, plan } = pair;
    const machine = bridge.machine!;
    if (machine.vsis.size > plan.bridgeVsis) fail(pair, `${machine.vsis.size} VSIs at the bridge`);
    if (machine.protocol === 'none' && machine.vsis.size > 0)
      fail(pair, 'VSIs at the bridge, their station is gone');
    this.#memory(pair, 'bridge');
    for (const vsi of machine.vsis.values()) {
      const { state } = vsi.machine;
      if (state !== 'BRIDGE_PROCESSING' && state !== 'WAIT_STATION_CMD')
        fail(pair, `${vsi.key} remains in ${state}`);
      if (!Number.isFinite(vsi.machine.nextDeadline()))
        fail(pair, `${vsi.key} waits without end in ${state}`);
      if (vsi.history.transitions.length > HISTORY_MAX) fail(pair, `history of ${vsi.key} grows`);
    }
    const promised = machine.evb.relayActive && bridge.policy.reflectiveRelay !== 'always';
    if (promised && !port.hairpin && !bridge.frozen && !bridge.catchingUp)
      fail(pair, 'the bridge says that it reflects, hairpin is off');
  }

  #memory(pair: Pair, side: Side): void {
    const { port } = pair[side].machine!;
    if (port === undefined) return;
    const host = pair[side];
    for (const { expires, lldpdu } of port.lldp.neighbours.values()) {
      const late = host.frozen || host.due <= host.now;
      if (expires > host.now + lldpdu.ttl * 1_000 || (expires <= host.now && !late))
        fail(pair, `the ${side} keeps a neighbour beyond its TTL`);
    }
    if (port.peer === undefined && !port.drained)
      fail(pair, `ECP of the ${side} is not done with a peer that is gone`);
    if (port.lldp.neighbours.size > NEIGHBOURS_MAX)
      fail(pair, `${port.lldp.neighbours.size} neighbours at the ${side}`);
    // One ECPDU may go beyond what is still accepted.
    const most = 2 * (side === 'station' ? pair.plan.stationVsis : pair.plan.bridgeVsis) + TLVS_PER_ECPDU;
    const unanswered = side === 'station' ? pair.plan.stationVsis + FAILED_MAX : 0;
    if (port.unanswered.size > unanswered)
      fail(pair, `${port.unanswered.size} requests remembered at the ${side}`);
    if (port.outbox.size > most) fail(pair, `${port.outbox.size} TLVs wait at the ${side}`);
  }

  /** What both sides and the kernel do not agree about; nothing when all is well. */
  disagreements(pair: Pair): string[] {
    const wrong: string[] = [];
    const station = pair.station.machine!;
    const bridge = pair.bridge.machine!;
    const { plan, port, wishes } = pair;
    const spoken = dialectOf(plan);
    for (const { protocol, vdpUp } of [station, bridge]) {
      if (protocol !== spoken || !vdpUp)
        return [`EVB: station ${station.protocol}, bridge ${bridge.protocol}, expected ${spoken} and VDP`];
    }
    const admitted = new Set<MacAddress>(plan.enforce ? [pair.station.around.mac] : []);
    for (const [key, command] of wishes) {
      const vsi = station.vsis.get(key);
      const there = bridge.vsis.get(key)?.machine;
      // Nobody waits for it; it is asked for when the bridge can be.
      if (vsi !== undefined && vsi.machine.state === 'INIT' && !askable(station, vsi, command)) {
        if (there?.operCmd !== undefined) wrong.push(`${key}: cannot be asked for, and is at the bridge`);
        continue;
      }
      if (!vsi?.machine.holds(command)) {
        wrong.push(
          `${key}: ${command.request} is wanted, station ${vsi?.state}: ${vsi?.history.last?.reason}`,
        );
      } else if (there?.operCmd?.request !== command.request || !sameAttributes(command, there.operCmd)) {
        wrong.push(`${key}: ${command.request} at the station, ${there?.operCmd?.request} at the bridge`);
      }
      if (vsi?.unconfirmed) wrong.push(`${key}: unconfirmed`);
      if (command.request === 'associate' && plan.enforce) {
        for (const { mac } of command.filters) if (mac !== undefined) admitted.add(mac);
      }
    }
    for (const key of bridge.vsis.keys()) if (!wishes.has(key)) wrong.push(`${key}: only at the bridge`);
    for (const [number, ticket] of this.users.tickets)
      if (ticket.pair === pair) wrong.push(`ticket ${number} is open`);
    if (String([...admitted].sort()) !== String(port.admitted.sort())) {
      wrong.push(`the kernel lets in ${port.admitted}, expected ${[...admitted]}`);
    }
    if (String([...pair.bridge.journal.macs].sort()) !== String(port.admitted.sort())) {
      wrong.push(`the journal has ${[...pair.bridge.journal.macs]}, the kernel ${port.admitted}`);
    }
    const relay = plan.stationRelay === 'request' && plan.bridgeRelay === 'allow';
    if (port.hairpin !== relay) wrong.push(`hairpin is ${port.hairpin}, negotiated is ${relay}`);
    if (
      plan.stationRelay === 'request' &&
      plan.bridgeRelay !== 'always' &&
      station.evb.relayActive !== relay
    ) {
      wrong.push(`relay at the station is ${station.relay}`);
    }
    const timers = operationalTimers(plan).map((agreed) => JSON.stringify(agreed));
    const [atStation, atBridge] = [station, bridge].map((machine) => JSON.stringify(machine.timers));
    if (atStation !== atBridge || !timers.includes(atStation!))
      wrong.push(`timers ${atStation} at the station, ${atBridge} at the bridge, proposed were ${timers}`);
    return wrong;
  }
}

/** The bridge can be asked for it: the dialect has words for it, and groups are agreed where it has any. */
function askable(station: Station, vsi: StationVsi, command: VsiCommand): boolean {
  if (vsi.machine.dialect.objection(command) !== undefined) return false;
  return station.evb.groupIds || command.filters.every(({ group }) => group === undefined);
}

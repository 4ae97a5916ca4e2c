import {
  EcpReceiver,
  type EcpTiming,
  type EcpTransmitEffect,
  EcpTransmitter,
} from '../../protocols/ecp/index.ts';
import {
  ETHERTYPE_LLDP,
  type EthernetFrame,
  NEAREST_BRIDGE,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import {
  LldpAgent,
  type LldpEffect,
  type LldpNeighbour,
  type LldpTiming,
} from '../../protocols/lldp-agent/index.ts';
import { CHASSIS_ID_MAC, type Lldpdu, PORT_ID_MAC } from '../../protocols/lldp-codec/index.ts';
import { DecodeError, type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import type { VdpPdu, VsiTlv } from '../../protocols/vdp/index.ts';
import type { DialectName } from '../model.ts';
import { type Dialect, DialectFinder, DRAFT_AFTER, type EvbTlvs } from './dialect.ts';
import { Outbox } from './outbox.ts';
import { PeerChoice, type ProvenPeer } from './peer-choice.ts';

/** What the LLDP agent tells about this machine besides chassis and port identity. */
export interface SystemDescription {
  systemName: string;
  portDescription: string;
  capabilities: { supported: number; enabled: number };
}

export interface PortOptions {
  mac: MacAddress;
  system: SystemDescription;
  lldp: LldpTiming;
  /** Group address of LLDP: what the standard says, or the nearest bridge, as some draft switches may do it. */
  lldpScope: 'customer-bridge' | 'nearest-bridge';
  dialect: Dialect;
  /** auto: another dialect is asked for when the neighbours speak it. */
  protocol: DialectName | 'auto';
  ecp: EcpTiming;
  /** 1..65535, drawn anew for every port that comes up (interop-notes.md 10, row 2). */
  firstSequence: number;
  /** VSI TLVs that may wait for the transmitter; while they do, requests are not acknowledged and the peer slows down. */
  outboxMax: number;
  /** peer: ECP frames count only from the address that the EVB peer's LLDPDUs come from. */
  ecpSource: 'peer' | 'any';
  /** false: while there is no EVB peer, ECP counts from anybody. */
  evbFirst: boolean;
  /** What is known of a time before. */
  proven?: ProvenPeer | undefined;
}

export type PortEffect =
  | { kind: 'send'; frame: EthernetFrame }
  /** The adjacent peer's LLDPDU with the EVB TLV of the dialect; undefined when it is gone or withdrawn. */
  | { kind: 'evb'; tlvs: EvbTlvs | undefined; reason: string }
  /** Another dialect is to be spoken: speak(). */
  | { kind: 'dialect'; name: DialectName; reason: string }
  /** The EVB peer as last heard, for whoever keeps it over a restart; undefined: forget it. */
  | { kind: 'peer'; neighbour: LldpNeighbour | undefined }
  /** Whose place that of the EVB peer is, for the same. */
  | { kind: 'proven'; proven: ProvenPeer | undefined }
  | { kind: 'vdp'; pdu: VdpPdu }
  /** A late ECP matter worth a log line. */
  | { kind: 'undelivered'; attempts: number }
  /** For the log. */
  | { kind: 'notice'; text: string };

/** LLDPDU intervals within which a peer has to show that it hears us, when another neighbour does. */
const TRIAL = 3;
/** Milliseconds that a patient port waits for one answer. */
const PATIENCE = 50;

/**
 * What both roles do on an interface, without sockets and clocks: the LLDP agent, ECP in both directions, which neighbour is the
 * EVB peer, and which dialect it speaks. `now` in milliseconds of one monotonic clock.
 */
export class Port {
  readonly mac: MacAddress;
  readonly lldp: LldpAgent;
  readonly outbox: Outbox;
  /** VSIs whose request the peer has not answered yet, since ECP was done with it: delivered, or given up. */
  readonly unanswered = new Map<string, { since: number; delivered: boolean }>();
  /**
   * One VSI at a time, and none before the last is answered: for a peer that loses what comes meanwhile (interop-notes.md 10,
   * row 5).
   */
  patient = false;
  /** The peer answers what it is told; else nothing is remembered of it. */
  expectsAnswers = false;
  #outstanding: string[] = [];
  readonly counters = { ecpMalformed: 0, ecpForeign: 0, vdpMalformed: 0, otherFrames: 0 };
  readonly #system: SystemDescription;
  readonly #outboxMax: number;
  readonly #ecpSource: PortOptions['ecpSource'];
  readonly #evbFirst: boolean;
  readonly #transmitter: EcpTransmitter;
  readonly #receiver: EcpReceiver;
  readonly #lldpGroup: MacAddress;
  #protocol: PortOptions['protocol'];
  #dialect: Dialect;
  #finder = new DialectFinder();
  #lldpTiming: LldpTiming;
  #evb: EvbTlvs | undefined;
  readonly #choice: PeerChoice;
  #told: ProvenPeer | undefined;
  #peerMacs: readonly MacAddress[] = [];
  #enabled = false;

  constructor(options: PortOptions) {
    this.mac = options.mac;
    this.#system = options.system;
    this.#outboxMax = options.outboxMax;
    this.#ecpSource = options.ecpSource;
    this.#evbFirst = options.evbFirst;
    this.#lldpGroup = options.lldpScope === 'nearest-bridge' ? NEAREST_BRIDGE : NEAREST_CUSTOMER_BRIDGE;
    this.#protocol = options.protocol;
    this.#dialect = options.dialect;
    this.#lldpTiming = options.lldp;
    this.lldp = new LldpAgent(this.#local(), options.lldp);
    this.#transmitter = new EcpTransmitter(options.ecp, options.firstSequence, options.dialect.ecp);
    this.#receiver = new EcpReceiver(options.ecp, options.dialect.ecp);
    this.outbox = new Outbox();
    this.#choice = new PeerChoice(options.proven);
    this.#told = options.proven;
    this.#favour();
  }

  get dialect(): DialectName {
    return this.#dialect.name;
  }

  get peer(): LldpNeighbour | undefined {
    const { key } = this.#choice;
    return key === undefined ? undefined : this.lldp.neighbours.get(key);
  }

  /** Source address of the EVB peer's LLDPDUs. */
  get peerMac(): MacAddress | undefined {
    return this.peer?.source;
  }

  /** Where what counts comes from: the peer's address, and that of the one whose place it is. */
  get peerMacs(): readonly MacAddress[] {
    return this.#peerMacs;
  }

  /** Further neighbours with an EVB TLV, which are reported and not listened to. */
  get rivals(): LldpNeighbour[] {
    return [...this.lldp.neighbours.values()].filter(
      ({ key, lldpdu }) => (lldpdu.evb ?? lldpdu.evbDraft) !== undefined && key !== this.#choice.key,
    );
  }

  /** Why neighbours with an EVB TLV are no EVB peers: it is that of the other dialect. */
  get otherDialect(): string | undefined {
    const others = [...this.lldp.neighbours.values()].map(({ lldpdu }) => lldpdu);
    if (this.#choice.key !== undefined || this.#evb === undefined) return undefined;
    if (!others.some(({ evb, evbDraft }) => (evb ?? evbDraft) !== undefined)) return undefined;
    if (this.dialect === 'draft')
      return `the neighbour speaks the EVB of the standard, this link that of draft 0.2 (protocol: ${this.#protocol})`;
    const when =
      this.#protocol === 'auto'
        ? `it is spoken after ${this.#draftAfter} s of that`
        : 'this link that of the standard (protocol: ratified)';
    return `the neighbour speaks the EVB of draft 0.2 only, ${when}`;
  }

  get ecpCounters() {
    return { ...this.#transmitter.counters, ...this.#receiver.counters };
  }

  /** Nothing waits and nothing is unacknowledged. */
  get drained(): boolean {
    return this.outbox.size === 0 && this.#transmitter.idle;
  }

  /** The peer has answered the request of a VSI, perhaps before it acknowledged it. */
  answered(key: string): void {
    this.unanswered.delete(key);
    this.#outstanding = this.#outstanding.filter((other) => other !== key);
  }

  /** The peer restarted: its next ECP request is new, whatever its number. */
  forgetSequence(): void {
    this.#receiver.reset();
  }

  setEcpTiming(timing: EcpTiming): void {
    this.#transmitter.timing = timing;
    this.#receiver.timing = timing;
  }

  setEnabled(enabled: boolean, now: number): PortEffect[] {
    this.#enabled = enabled;
    if (!enabled) this.outbox.clear();
    return this.#fromLldp(this.lldp.setPortEnabled(enabled, now), now);
  }

  /**
   * A VSI TLV for the peer; it takes the place of one about the same VSI that has not left yet. What was begun in another dialect
   * and has no words in this one is not said; its machine gives up waiting for an answer.
   */
  say(key: string, manager: Uint8Array, tlv: VsiTlv): void {
    if (this.#dialect.vdp.objection({ ...tlv, manager }) !== undefined) return;
    this.outbox.put(key, manager, this.#dialect.vdp.encodeVsi(tlv, manager));
  }

  /** Our EVB TLV as of now; undefined withdraws it. It goes out at once, credit permitting. */
  setEvbTlv(tlvs: EvbTlvs | undefined, now: number): PortEffect[] {
    this.#evb = tlvs;
    return this.#fromLldp(this.lldp.localChanged(this.#local()), now);
  }

  /** Another dialect with its EVB TLV: ECP begins anew, and with it who the peer is. */
  speak(dialect: Dialect, ecp: EcpTiming, tlvs: EvbTlvs | undefined, now: number): PortEffect[] {
    this.#dialect = dialect;
    this.setEcpTiming(ecp);
    this.#finder = new DialectFinder();
    this.outbox.clear();
    const forgotten: PortEffect[] =
      this.#choice.key === undefined ? [] : [{ kind: 'peer', neighbour: undefined }];
    this.#choice.reset();
    this.#favour();
    this.#resetEcp();
    return [...forgotten, ...this.setEvbTlv(tlvs, now), ...this.#choose('', now)];
  }

  setProtocol(protocol: PortOptions['protocol']): void {
    this.#protocol = protocol;
  }

  setLldpTiming(timing: LldpTiming, now: number): PortEffect[] {
    this.#lldpTiming = timing;
    return this.#fromLldp(this.lldp.setTiming(timing), now);
  }

  /** Shutdown LLDPDU: the peer forgets us at once. */
  shutdown(now: number): PortEffect[] {
    return this.#fromLldp(this.lldp.shutdown(), now);
  }

  resumePeer(lldpdu: Uint8Array, source: MacAddress, expires: number, now: number): PortEffect[] {
    return this.#fromLldp(this.lldp.resume(lldpdu, expires, now, source), now);
  }

  frame(frame: EthernetFrame, now: number): PortEffect[] {
    if (!this.#enabled) return [];
    const { etherType, destination } = frame;
    if (etherType === ETHERTYPE_LLDP && destination === this.#lldpGroup) {
      const heard = this.#fromLldp(this.lldp.receive(frame.payload, now, frame.source), now);
      return [...heard, ...this.#findDialect(now)];
    }
    const dialect = this.#dialect;
    const toUs = destination === dialect.destination || destination === this.mac;
    if (etherType === dialect.etherType && toUs) return this.#ecp(frame, now);
    this.counters.otherFrames++;
    return [];
  }

  advance(now: number): PortEffect[] {
    if (!this.#enabled) return [];
    this.#choice.advance(now);
    return [
      ...this.#fromLldp(this.lldp.advance(now), now),
      ...this.#choose('', now),
      ...this.#findDialect(now),
      ...this.#fromEcp(this.#transmitter.advance(now), now),
      ...this.flush(now),
    ];
  }

  /** Gives the transmitter what waits in the outbox, when it is free. */
  flush(now: number): PortEffect[] {
    const effects: PortEffect[] = [];
    while (this.#enabled && this.#transmitter.idle && now >= this.#heldUntil()) {
      const next = this.outbox.take(this.#dialect, this.patient ? 1 : undefined);
      if (next === undefined) break;
      this.#outstanding = next.keys;
      this.#choice.requested();
      effects.push(...this.#fromEcp(this.#transmitter.request(next.ulpdu, now), now));
    }
    return effects;
  }

  nextDeadline(): number {
    if (!this.#enabled) return Number.POSITIVE_INFINITY;
    const held =
      this.outbox.size > 0 && this.#transmitter.idle ? this.#heldUntil() : Number.POSITIVE_INFINITY;
    const found = this.#findsDialect
      ? this.#finder.deadline(this.#lldpTiming.msgTxInterval)
      : Number.POSITIVE_INFINITY;
    const machines = Math.min(
      this.lldp.nextDeadline(),
      this.#transmitter.nextDeadline(),
      this.#choice.nextDeadline(),
    );
    return Math.min(machines, held, found);
  }

  /** A patient port waits for the answer to its last request, but not for ever: one may be lost all the same. */
  #heldUntil(): number {
    if (!this.patient) return Number.NEGATIVE_INFINITY;
    const newest = [...this.unanswered.values()].at(-1);
    return newest === undefined ? Number.NEGATIVE_INFINITY : newest.since + PATIENCE;
  }

  #ecp(frame: EthernetFrame, now: number): PortEffect[] {
    // A guest behind a reflecting port can reach this group address too: only the EVB peer is listened to.
    const stranger = frame.source !== this.peerMac && (this.#evbFirst || this.peerMac !== undefined);
    const foreign = this.#ecpSource === 'peer' && stranger;
    if (foreign) this.counters.ecpForeign++;
    const neighbour =
      frame.source === this.peerMac
        ? this.peer
        : this.#speakers.find(({ source }) => source === frame.source);
    if (foreign && neighbour === undefined) return [];
    try {
      const ecpdu = this.#dialect.ecp.decode(frame.payload);
      if (ecpdu.operation === 'ack' && neighbour !== undefined && this.#transmitter.awaits(ecpdu))
        this.#choice.acknowledged(neighbour, now);
      if (foreign) return [];
      if (ecpdu.operation === 'ack') {
        return [...this.#fromEcp(this.#transmitter.ack(ecpdu, now), now), ...this.flush(now)];
      }
      const effects: PortEffect[] = [];
      const accept = this.outbox.size < this.#outboxMax;
      for (const effect of this.#receiver.request(ecpdu, frame.source, now, accept)) {
        if (effect.kind === 'send') effects.push(this.#sendEcpdu(effect.ecpdu));
        else effects.push(...this.#vdp(effect.ulpdu));
      }
      return effects;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.counters.ecpMalformed++;
      return [];
    }
  }

  #vdp(ulpdu: Uint8Array): PortEffect[] {
    try {
      const { pdus, invalid } = this.#dialect.vdp.decode(ulpdu);
      this.counters.vdpMalformed += invalid;
      return pdus.map((pdu) => ({ kind: 'vdp', pdu }));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.counters.vdpMalformed++;
      return [];
    }
  }

  #fromEcp(effects: EcpTransmitEffect[], now: number): PortEffect[] {
    return effects.flatMap((effect): PortEffect[] => {
      if (effect.kind === 'send') return [this.#sendEcpdu(effect.ecpdu)];
      for (const key of this.expectsAnswers ? this.#outstanding : []) {
        this.unanswered.delete(key);
        this.unanswered.set(key, { since: now, delivered: effect.kind === 'delivered' });
      }
      if (effect.kind === 'delivered') return this.#tellProven();
      this.#choice.gaveUp();
      return [{ kind: 'undelivered', attempts: effect.attempts }, ...this.#choose('', now)];
    });
  }

  #fromLldp(effects: LldpEffect[], now: number): PortEffect[] {
    return effects.flatMap((effect) => this.#lldpEffect(effect, now));
  }

  #lldpEffect(effect: LldpEffect, now: number): PortEffect[] {
    switch (effect.kind) {
      case 'send':
        return [this.#send(ETHERTYPE_LLDP, this.#lldpGroup, effect.lldpdu)];
      case 'neighbour':
        return this.#heard(effect.neighbour, now);
      case 'neighbourGone':
        this.#choice.gone(effect.neighbour.key);
        return this.#choose(effect.reason, now);
    }
  }

  /** Neighbours that speak EVB in our dialect, the oldest first. */
  get #speakers(): LldpNeighbour[] {
    return [...this.lldp.neighbours.values()].filter(({ lldpdu }) => this.#dialect.heardIn(lldpdu));
  }

  #heard(neighbour: LldpNeighbour, now: number): PortEffect[] {
    const shows = this.#evb !== undefined && this.#dialect.hears(neighbour.lldpdu, this.#evb);
    this.#choice.heard(neighbour, shows, now);
    const chosen = this.#choose('the peer withdrew its EVB TLV', now);
    // Who has become the peer just now has been told already.
    if (chosen.length > 0 || neighbour.key !== this.#choice.key) return chosen;
    return [...this.#tellPeer(neighbour), ...this.#tellProven()];
  }

  /** Sees to it that the best neighbour is the peer. `lost`: why the present one is none, if it is gone. */
  #choose(lost: string, now: number): PortEffect[] {
    const { key } = this.#choice;
    const { peer, reason = lost } = this.#choice.best(this.#speakers, now);
    if (peer?.key === key) return [];
    this.#choice.take(peer, TRIAL * this.#lldpTiming.msgTxInterval * 1_000, now);
    this.#resetEcp();
    const effects: PortEffect[] = [];
    if (key !== undefined) {
      this.outbox.clear();
      effects.push({ kind: 'peer', neighbour: undefined }, { kind: 'evb', tlvs: undefined, reason });
      if (peer !== undefined)
        effects.push({ kind: 'notice', text: `another neighbour is the EVB peer now: ${reason}` });
    }
    if (peer !== undefined) effects.push(...this.#tellPeer(peer));
    return [...effects, ...this.#tellProven()];
  }

  #tellPeer(neighbour: LldpNeighbour): PortEffect[] {
    return [
      { kind: 'peer', neighbour },
      { kind: 'evb', tlvs: neighbour.lldpdu, reason: 'EVB TLV received' },
    ];
  }

  #tellProven(): PortEffect[] {
    this.#favour();
    const { proven } = this.#choice;
    if (proven === this.#told) return [];
    this.#told = proven;
    return [{ kind: 'proven', proven }];
  }

  /** Strangers take neither the peer's place among the neighbours nor its share of the frames. */
  #favour(): void {
    const { key, proven } = this.#choice;
    this.lldp.favoured = [key, proven?.key].filter((each) => each !== undefined);
    this.#peerMacs = [this.peerMac, proven?.source].filter((each) => each !== undefined);
  }

  /** Seconds. */
  get #draftAfter(): number {
    return DRAFT_AFTER * this.#lldpTiming.msgTxInterval;
  }

  get #findsDialect(): boolean {
    return this.#protocol === 'auto' && this.#evb !== undefined;
  }

  #findDialect(now: number): PortEffect[] {
    if (!this.#findsDialect) return [];
    const present = this.#dialect.name;
    // With the timers of the standard even an honest peer may be too slow.
    const trusted = this.#choice.trusted && !(present === 'draft' && this.#choice.ignores);
    const all = [...this.lldp.neighbours.values()];
    // The one whose place it is decides alone, whoever has it, as long as it does not fail.
    const proven = all.find(
      (neighbour) => this.#choice.isProven(neighbour, now) && (trusted || neighbour.key !== this.#choice.key),
    );
    const peer = proven ?? (trusted ? this.peer : undefined);
    // Where the peer has failed, so have all that speak as it does: any other would have taken its place.
    const others = trusted
      ? all
      : all.filter(({ lldpdu }) => present === 'draft' || lldpdu.evb === undefined);
    const heeded = (proven === undefined ? others : [proven]).map(({ lldpdu }) => lldpdu);
    const name = this.#finder.find(present, heeded, peer?.lldpdu, this.#lldpTiming.msgTxInterval, now);
    if (name === present) return [];
    const reason =
      name === 'draft'
        ? `the peer has sent nothing but the EVB TLV of draft 0.2 for ${this.#draftAfter} s: it is spoken`
        : 'the peer sends the EVB TLV of the standard: draft 0.2 is no longer spoken';
    return [{ kind: 'dialect', name, reason }];
  }

  #resetEcp(): void {
    this.#receiver.reset(this.#dialect.ecp);
    this.#transmitter.reset(this.#dialect.ecp);
    this.unanswered.clear();
  }

  #local(): Omit<Lldpdu, 'ttl' | 'others'> {
    const octets = macToOctets(this.mac);
    return {
      chassisId: { subtype: CHASSIS_ID_MAC, id: octets },
      portId: { subtype: PORT_ID_MAC, id: octets },
      ...this.#evb,
      ...this.#system,
    };
  }

  #sendEcpdu(ecpdu: Uint8Array): PortEffect {
    return this.#send(this.#dialect.etherType, this.#dialect.destination, ecpdu);
  }

  #send(etherType: number, destination: MacAddress, payload: Uint8Array): PortEffect {
    return { kind: 'send', frame: { destination, source: this.mac, etherType, payload } };
  }
}

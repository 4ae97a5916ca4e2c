import { ECP_DRAFT_RETRIES } from '../../protocols/ecp/index.ts';
import {
  ETHERTYPE_LLDP,
  type EthernetFrame,
  NEAREST_CUSTOMER_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import {
  CHASSIS_ID_MAC,
  decodeLldpdu,
  EVB_MODE_BRIDGE,
  EVB_MODE_STATION,
  type EvbDraftTlv,
  type EvbTlv,
  encodeLldpdu,
  PORT_ID_MAC,
} from '../../protocols/lldp-codec/index.ts';
import { DecodeError, type MacAddress, macToOctets, sameOctets } from '../../protocols/octets/index.ts';
import type { VsiCommand } from '../../protocols/vdp/index.ts';
import type { BridgePolicy } from '../../src/bridge/bridge.ts';
import type { RoleOptions } from '../../src/port/role.ts';
import type { StationPolicy } from '../../src/station/station.ts';
import { BridgeHost, StationHost } from './host.ts';
import { type KernelBridge, KernelPort } from './kernel.ts';
import { canShow, type Faults, type PairPlan, type Plan } from './plan.ts';
import type { Random } from './random.ts';
import type { Timeline } from './timeline.ts';
import { fail } from './violation.ts';
import { ecpduOf, type Side, type Word, wordsIn } from './words.ts';

/** What happens, for whoever watches. */
export interface Watcher {
  readonly tracing: boolean;
  trace(pair: Pair, text: string): void;
  settled(pair: Pair, ticket: number, error: { name: string; message: string } | undefined): void;
  /** What one side says for the first time. */
  sent(pair: Pair, from: Side, words: readonly Word[]): void;
  /** One side is about to read a frame. */
  reads(pair: Pair, side: Side): void;
  shown(pair: Pair, key: string, text: string): void;
  /** A killed station comes back with what it had stored; wishes for `unheard` were being written when it died. */
  recalled(pair: Pair, unheard: ReadonlySet<string>): void;
}

/** The last ECP request of a side, and how things stood then. */
interface LastEcp {
  payload: Uint8Array;
  sequence: number;
  errors: number;
  ecpRuns: number;
  dialect: string;
  maxRetries: number;
  transmissions: number;
}

/** Exponents and lives that a flipped bit may not exceed: with them the run would take days. */
const EXPONENT_MAX = 20;
/** The draft's TLV of one who has not heard us. */
const DEAF: EvbDraftTlv = { smode: 0xc0, scap: 7, cmode: 0x80, ccap: 0, svsi: 0, cvsi: 0, rte: 15 };
/** Frames under way in one direction; what is more is lost, as in any queue. */
const QUEUE_MAX = 256;

export const profiles = [{ name: 'web', manager: new Uint8Array(16), type: 2, typeVersion: 1, vlan: 42 }];

/** A station, a switch port and the link between them. */
export class Pair {
  readonly index: number;
  readonly plan: PairPlan;
  readonly faults: Faults;
  readonly station: StationHost;
  readonly bridge: BridgeHost;
  readonly port: KernelPort;
  /** What users want of this station. */
  readonly wishes = new Map<string, VsiCommand>();
  /** VSIs of which the station has read another word than a plain yes since they are wanted so. */
  readonly denied = new Set<string>();
  carrier = true;
  deaf = false;
  /** Something has changed since the invariants were looked at. */
  dirty = true;
  /** Frames that were sent and VSIs that were shown anew. */
  frames = 0;
  shows = 0;
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #watcher: Watcher;
  readonly #lastEcp: Partial<Record<Side, LastEcp>> = {};
  readonly #lastArrival = { station: 0, bridge: 0 };
  readonly #underWay = { station: 0, bridge: 0 };
  #epoch = 0;

  constructor(
    index: number,
    run: Plan,
    kernel: KernelBridge,
    timeline: Timeline,
    random: Random,
    watcher: Watcher,
  ) {
    const plan = run.pairs[index]!;
    this.index = index;
    this.plan = plan;
    this.faults = { ...plan.faults };
    this.#timeline = timeline;
    this.#random = random;
    this.#watcher = watcher;
    this.port = new KernelPort(kernel);
    const options = (vsisMax: number): RoleOptions => ({
      system: { systemName: 'sim', portDescription: 'port', capabilities: { supported: 4, enabled: 4 } },
      lldp: { ...run.lldp, msgFastTx: 1, txFastInit: 4, txCreditMax: 5, reinitDelay: 2 },
      outboxMax: 2 * vsisMax,
      ecpSource: 'peer',
      evbFirst: true,
      filterCount: 'present',
      vsiKey: 'vsiid',
      deassocAck: false,
      managerOctet: 'first',
      lldpScope: 'customer-bridge',
      draftRenumber: false,
    });
    const around = (from: Side, mac: MacAddress, vsisMax: number) => ({
      timeline,
      random,
      faults: this.faults,
      mac,
      options: options(vsisMax),
      send: (frame: EthernetFrame) => this.#send(from, frame),
      reads: () => watcher.reads(this, from),
      undelivered: () => this.#undelivered(from),
      moved: () => {
        this.dirty = true;
      },
    });
    this.station = new StationHost(
      {
        ...around('station', `02:00:00:00:01:0${index}` as MacAddress, plan.stationVsis),
        settled: (ticket, error) => watcher.settled(this, ticket, error),
        changed: (vsi, removed) => {
          this.shows++;
          const text = `${removed ? 'removed' : vsi.state}: ${vsi.history.last?.reason}`;
          watcher.shown(this, vsi.key, text);
        },
      },
      stationPolicy(plan),
    );
    this.bridge = new BridgeHost(
      {
        ...around('bridge', `02:00:00:00:02:0${index}` as MacAddress, plan.bridgeVsis),
        port: this.port,
        refused: (key, reason) => watcher.trace(this, `bridge refuses ${key}: ${reason}`),
      },
      bridgePolicy(plan),
    );
  }

  trace(text: string): void {
    this.#watcher.trace(this, text);
  }

  setCarrier(up: boolean): void {
    this.carrier = up;
    if (!up) this.#epoch++;
    this.trace(`carrier ${up ? 'up' : 'down'}`);
  }

  /** The faults end: everything runs and is configured as it was meant to be. */
  calm(): void {
    for (const key of Object.keys(this.faults) as (keyof Faults)[]) {
      if (key !== 'delay') this.faults[key] = 0;
    }
    this.deaf = false;
    this.carrier = true;
    if (!this.port.bridged) this.bridge.setBridged(true);
    this.station.policy = stationPolicy(this.plan);
    this.bridge.policy = bridgePolicy(this.plan);
    for (const host of [this.station, this.bridge]) {
      host.thaw();
      if (host.machine !== undefined) {
        host.takeUp();
        host.carrier(true);
      } else if (host === this.station) this.startStation();
      else host.start(true);
    }
    this.station.setPolicy(this.station.policy);
    this.bridge.setPolicy(this.bridge.policy);
    this.trace('calm');
  }

  /** What was wanted is wanted again, as far as the store knew of it. */
  startStation(): void {
    if (this.station.machine !== undefined) return;
    const { unheard, store } = this.station;
    if (unheard !== undefined) this.#watcher.recalled(this, unheard);
    this.wishes.clear();
    this.denied.clear();
    for (const [key, { wanted }] of store.vsis) this.wishes.set(key, wanted!);
    this.station.start(this.carrier);
    this.trace(`station started with ${this.wishes.size} wishes`);
  }

  /** Somebody else speaks EVB to one side, under a name of his own or the peer's; `forges`: says all that the peer says. */
  strange(to: Side, random: Random, forges = false): void {
    const { plan } = this;
    const peer = this[to === 'station' ? 'bridge' : 'station'];
    const source = `52:54:00:66:66:0${random.integer(0, 9)}` as MacAddress;
    const id = macToOctets(random.chance(0.3) ? peer.around.mac : source);
    const bothAuto = plan.stationProtocol === 'auto' && plan.bridgeProtocol === 'auto';
    const own = peer.machine?.protocol;
    // Who follow each other may be led into the draft together, and stay there.
    const draft = forges ? own === 'draft' : !bothAuto && random.chance(0.5);
    const evb: EvbTlv = forges ? peer.machine!.ratified.tlv : this.#deafTlv(to, random);
    const evbDraft = forges ? peer.machine!.draft.tlv : DEAF;
    const { octets } = encodeLldpdu({
      chassisId: { subtype: CHASSIS_ID_MAC, id },
      portId: { subtype: PORT_ID_MAC, id },
      ttl: canShow(plan, to) ? 65535 : random.integer(1, 20),
      others: [],
      ...(draft ? { evbDraft } : { evb }),
    });
    this.trace(`a stranger speaks EVB to the ${to}`);
    if (!this.carrier) return;
    const destination = NEAREST_CUSTOMER_BRIDGE;
    this[to].frame({ destination, source, etherType: ETHERTYPE_LLDP, payload: octets });
  }

  /** What somebody says who has not heard this side. */
  #deafTlv(to: Side, random: Random): EvbTlv {
    const bit = () => random.chance(0.5);
    const bridge = to === 'station';
    return {
      mode: bridge ? EVB_MODE_BRIDGE : EVB_MODE_STATION,
      bridgeStatus: { bgid: bridge && bit(), rrcap: bridge && bit(), rrctr: false },
      stationStatus: { sgid: !bridge && bit(), rrreq: !bridge && bit(), rrstat: 0 },
      ...(bridge ? this.plan.bridgeProposal : this.plan.stationProposal),
      rwdRol: false,
      rkaRol: false,
    };
  }

  #send(from: Side, frame: EthernetFrame): void {
    this.frames++;
    if (this.#watcher.tracing)
      this.trace(`${from} sends ${describe(frame, from === 'station' ? 'bridge' : 'station')}`);
    this.#look(from, frame);
    const random = this.#random;
    const { faults } = this;
    if (!this.carrier || random.chance(faults.loss)) return;
    if (this.deaf && frame.etherType !== ETHERTYPE_LLDP) return;
    if (random.chance(faults.echo)) this.#carry(from, frame);
    const to = from === 'station' ? 'bridge' : 'station';
    const copies = random.chance(faults.duplication) ? random.integer(2, 3) : 1;
    for (let copy = 0; copy < copies; copy++) {
      const carried = random.chance(faults.corruption) ? this.#corrupted(frame) : frame;
      if (carried !== undefined) this.#carry(to, carried);
    }
  }

  #carry(to: Side, frame: EthernetFrame): void {
    if (this.#underWay[to] >= QUEUE_MAX) return;
    const { delay, reordering } = this.faults;
    let at = this.#timeline.now + delay * this.#random.between(0.5, 1.5);
    if (this.#random.chance(reordering)) at += this.#random.between(0, 20 * delay + 300);
    else {
      at = Math.max(at, this.#lastArrival[to]);
      this.#lastArrival[to] = at;
    }
    const epoch = this.#epoch;
    this.#underWay[to]++;
    this.#timeline.at(at, () => {
      this.#underWay[to]--;
      if (epoch !== this.#epoch || !this.carrier) return;
      this[to].frame(frame);
    });
  }

  /** ECP sends one request after the other, each as often as it has to, and none to a peer that it was not meant for. */
  #look(from: Side, frame: EthernetFrame): void {
    const ecpdu = ecpduOf(frame);
    if (ecpdu?.operation !== 'request') return;
    const host = this[from];
    const { ecpRuns } = host;
    const { dialect, ecpCounters } = host.machine!.port!;
    const last = this.#lastEcp[from];
    const sameRun = last?.ecpRuns === ecpRuns && last.dialect === dialect;
    if (frame.payload === last?.payload) {
      if (!sameRun)
        fail(this, `the ${from} sends ECPDU ${last.sequence} to a peer that it was not meant for`);
      last.transmissions++;
      return;
    }
    const { sequence } = ecpdu;
    const errors = ecpCounters.txErrors;
    if (sameRun && last.errors === errors && !host.acknowledged.has(last.sequence))
      fail(this, `the ${from} lets ECPDU ${last.sequence} be overtaken, neither acknowledged nor given up`);
    const maxRetries = this.#maxRetries(from);
    this.#lastEcp[from] = {
      payload: frame.payload,
      sequence,
      errors,
      ecpRuns,
      dialect,
      maxRetries,
      transmissions: 1,
    };
    const reader = from === 'station' ? 'bridge' : 'station';
    const words = wordsIn(frame, reader);
    if (words !== undefined) this.#watcher.sent(this, from, words);
  }

  #undelivered(from: Side): void {
    const { sequence, transmissions, maxRetries } = this.#lastEcp[from]!;
    if (maxRetries === this.#maxRetries(from) && transmissions !== maxRetries + 1)
      fail(
        this,
        `the ${from} gives ECPDU ${sequence} up after ${transmissions} of ${maxRetries + 1} transmissions`,
      );
  }

  #maxRetries(side: Side): number {
    const { port, ratified } = this[side].machine!;
    return port!.dialect === 'draft' ? ECP_DRAFT_RETRIES : ratified.operational.r;
  }

  /** undefined: the frame check sequence caught it, which it also does where time would stand still otherwise. */
  #corrupted(frame: EthernetFrame): EthernetFrame | undefined {
    const payload = frame.payload.slice();
    for (let flips = this.#random.integer(1, 3); flips > 0; flips--) {
      const at = this.#random.integer(0, payload.length - 1);
      payload[at] = payload[at]! ^ (1 << this.#random.integer(0, 7));
    }
    if (sameOctets(payload, frame.payload)) return frame;
    if (frame.etherType === ETHERTYPE_LLDP && isExcessive(payload, frame.payload)) return undefined;
    return { ...frame, payload };
  }
}

function isExcessive(payload: Uint8Array, original: Uint8Array): boolean {
  try {
    const { lldpdu } = decodeLldpdu(payload);
    const { evb } = lldpdu;
    const ttl = decodeLldpdu(original).lldpdu.ttl;
    return lldpdu.ttl > ttl || (evb !== undefined && Math.max(evb.rte, evb.rwd, evb.rka) > EXPONENT_MAX);
  } catch (error) {
    if (error instanceof DecodeError) return false;
    throw error;
  }
}

function describe(frame: EthernetFrame, reader: Side): string {
  if (frame.etherType === ETHERTYPE_LLDP) {
    const { ttl, evb, evbDraft } = decodeLldpdu(frame.payload).lldpdu;
    return `LLDP ttl ${ttl} evb ${JSON.stringify(evb ?? evbDraft)}`;
  }
  const { operation, sequence } = ecpduOf(frame)!;
  const text = (wordsIn(frame, reader) ?? []).map(
    ({ tlv: { request, status, id, filters } }) =>
      `${request} ${status.toString(16)} #${id.at(-1)} ${filters.map(({ mac, vid }) => `${mac?.slice(9)}/${vid}`)}`,
  );
  return `ECP ${operation} ${sequence} ${text.join(', ')}`;
}

export function stationPolicy(plan: PairPlan): StationPolicy {
  return {
    protocol: plan.stationProtocol,
    evb: true,
    reflectiveRelay: plan.stationRelay,
    groupIds: plan.stationGroupIds,
    proposal: plan.stationProposal,
    vsisPerLink: plan.stationVsis,
    peer: plan.peer,
  };
}

export function bridgePolicy(plan: PairPlan): BridgePolicy {
  return {
    protocol: plan.bridgeProtocol,
    evb: true,
    reflectiveRelay: plan.bridgeRelay,
    groupIds: plan.bridgeGroupIds,
    proposal: plan.bridgeProposal,
    admission: 'open',
    profiles,
    enforce: plan.enforce,
    vsisPerLink: plan.bridgeVsis,
  };
}

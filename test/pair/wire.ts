/** A station and a bridge, the real machines, on a wire and a clock that are not. */

import { decodeEcpdu, type Ecpdu, encodeEcpdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP, type EthernetFrame } from '../../protocols/ethernet/index.ts';
import { LLDP_TIMING, type LldpNeighbour } from '../../protocols/lldp-agent/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { type VdpRequest, VSIID_LOCAL, type VsiCommand } from '../../protocols/vdp/index.ts';
import { Bridge, type BridgeEffect, type BridgePolicy } from '../../src/bridge/bridge.ts';
import type { EvbError } from '../../src/model.ts';
import type { ProvenPeer } from '../../src/port/peer-choice.ts';
import type { RoleOptions } from '../../src/port/role.ts';
import { Station, type StationEffect, type StationPolicy } from '../../src/station/station.ts';

export const STATION = '02:00:00:00:00:01' as MacAddress;
export const BRIDGE = '02:00:00:00:00:02' as MacAddress;
const proposal = { r: 3, rte: 14, rwd: 20, rka: 20 };
/** Milliseconds that a frame, and a change of the kernel, takes. */
const WIRE = 0.1;
const KERNEL = 1;

type Side = 'station' | 'bridge';
interface Event {
  at: number;
  run(): void;
}

export interface Settlement {
  at: number;
  error: EvbError | undefined;
}

function options(overrides: Partial<RoleOptions>): RoleOptions {
  return {
    system: { systemName: 'test', portDescription: 'port', capabilities: { supported: 4, enabled: 4 } },
    lldp: LLDP_TIMING,
    outboxMax: 8192,
    ecpSource: 'peer',
    evbFirst: true,
    filterCount: 'present',
    vsiKey: 'vsiid',
    deassocAck: false,
    managerOctet: 'first',
    lldpScope: 'customer-bridge',
    draftRenumber: false,
    ...overrides,
  };
}

export class Wire {
  now = 0;
  station: Station;
  bridge: Bridge;
  hairpin = false;
  readonly admitted = new Set<MacAddress>();
  readonly settled = new Map<number, Settlement>();
  readonly frames: { at: number; from: Side; frame: EthernetFrame }[] = [];
  readonly durable: string[] = [];
  /** Which frames arrive; may be replaced at any time. */
  passes: (from: Side, frame: EthernetFrame) => boolean = () => true;
  /** Which of the station's ECPDUs the bridge acknowledges without looking at them. */
  loses: (ecpdu: Ecpdu) => boolean = () => false;
  /** What the kernel says to admitting these addresses. */
  kernel: (macs: MacAddress[]) => string | undefined = () => undefined;
  /** What becomes of a frame on its way. */
  tampers: (from: Side, frame: EthernetFrame) => EthernetFrame = (_, frame) => frame;
  /** What either side has for the log. */
  readonly notices: string[] = [];
  /** Why relay is as it is, as last shown. */
  readonly shown: Partial<Record<Side, string>> = {};
  /** Whose place that of the peer is, as a store would have it. */
  readonly proven: Partial<Record<Side, ProvenPeer | undefined>> = {};
  /** Whose last words a store would have. */
  readonly kept: Partial<Record<Side, MacAddress | undefined>> = {};
  /** How often the status of either side was told. */
  readonly told = { station: 0, bridge: 0 };
  #stationPolicy: StationPolicy;
  #bridgePolicy: BridgePolicy;
  readonly #portOptions: Partial<RoleOptions>;
  #shapeDue = false;
  #shaping = false;
  #events: Event[] = [];
  #tickets = 1;
  #sequence = 1;

  constructor(
    station: Partial<StationPolicy> = {},
    bridge: Partial<BridgePolicy> = {},
    port: Partial<RoleOptions> = {},
  ) {
    const common = { protocol: 'ratified' as const, evb: true, groupIds: false, proposal, vsisPerLink: 4096 };
    this.#stationPolicy = { ...common, reflectiveRelay: 'request', peer: 'standard', ...station };
    this.#bridgePolicy = {
      ...common,
      reflectiveRelay: 'allow',
      admission: 'open',
      profiles: [],
      enforce: true,
      ...bridge,
    };
    this.#portOptions = port;
    this.station = new Station(this.#stationPolicy, options(port));
    this.bridge = new Bridge(this.#bridgePolicy, options(port));
  }

  up(): this {
    this.#toBridge(this.bridge.setBridged(true, this.now));
    this.#toBridge(
      this.bridge.linkUp({ mac: BRIDGE, firstSequence: this.#sequence++, hairpin: false }, this.now),
    );
    this.#toStation(this.station.linkUp({ mac: STATION, firstSequence: this.#sequence++ }, this.now));
    return this;
  }

  /**
   * The daemon of one side is killed and started again, with what a store would have kept: VSIs, and the peer as last heard.
   * The kernel stays as it is. `changes`: of the configuration, meanwhile.
   */
  replaceBridge(bridged = true, changes: Partial<BridgePolicy> = {}): this {
    this.#bridgePolicy = { ...this.#bridgePolicy, ...changes };
    const kept = remembered(this.proven.bridge, this.bridge.port?.peer);
    const inForce = [...this.bridge.vsis.values()].flatMap(({ machine }) => machine.operCmd ?? []);
    this.bridge = new Bridge(this.#bridgePolicy, options(this.#portOptions));
    this.#toBridge(this.bridge.setBridged(bridged, this.now));
    for (const command of inForce) this.bridge.resume(command, this.now);
    const link = { mac: BRIDGE, firstSequence: this.#sequence++, hairpin: this.hairpin };
    this.#toBridge(this.bridge.linkUp({ ...link, ...kept }, this.now));
    return this;
  }

  replaceStation(): this {
    const known = remembered(this.proven.station, this.station.port?.peer);
    const kept = [...this.station.vsis.values()].flatMap(({ wanted, machine }) =>
      wanted ? { wanted, machine } : [],
    );
    this.station = new Station(this.#stationPolicy, options(this.#portOptions));
    for (const { wanted, machine } of kept)
      this.station.resume(wanted, machine.operCmd, 'test', '', this.now);
    const link = { mac: STATION, firstSequence: this.#sequence++ };
    this.#toStation(this.station.linkUp({ ...link, ...known }, this.now));
    return this;
  }

  down(): this {
    this.#toBridge(this.bridge.linkDown('no carrier', this.now));
    this.#toStation(this.station.linkDown('no carrier', this.now));
    return this;
  }

  /** The daemon of the bridge dies and another starts; nobody is told, nothing is remembered. */
  restartBridge(): this {
    this.#events = this.#events.filter(({ at }) => at < this.now);
    this.bridge = new Bridge(this.#bridgePolicy, options(this.#portOptions));
    this.hairpin = false;
    this.#shaping = false;
    this.admitted.clear();
    this.#toBridge(this.bridge.setBridged(true, this.now));
    this.#toBridge(
      this.bridge.linkUp({ mac: BRIDGE, firstSequence: this.#sequence++, hairpin: false }, this.now),
    );
    return this;
  }

  setStationPolicy(changes: Partial<StationPolicy>): void {
    this.#stationPolicy = { ...this.#stationPolicy, ...changes };
    this.#toStation(this.station.setPolicy(this.#stationPolicy, this.now));
  }

  setBridgePolicy(changes: Partial<BridgePolicy>): void {
    this.#bridgePolicy = { ...this.#bridgePolicy, ...changes };
    this.#toBridge(this.bridge.setPolicy(this.#bridgePolicy, this.now));
  }

  ask(command: VsiCommand): number {
    const ticket = this.#tickets++;
    const objection = this.station.objection(command, 'test');
    if (objection !== undefined) this.settled.set(ticket, { at: this.now, error: objection });
    else this.#toStation(this.station.want(command, 'test', '', ticket, this.now));
    return ticket;
  }

  give(key: string): number {
    const ticket = this.#tickets++;
    this.#toStation(this.station.unwant(key, ticket, this.now));
    return ticket;
  }

  throwOut(key: string): void {
    this.#toBridge(this.bridge.remove(key, 'thrown out', this.now));
  }

  /** A frame of somebody else arrives. */
  stranger(to: Side, frame: EthernetFrame): void {
    if (to === 'station') this.#toStation(this.station.frame(frame, this.now));
    else this.#toBridge(this.bridge.frame(frame, this.now));
  }

  /** Lets `milliseconds` pass, event by event. */
  pass(milliseconds: number): this {
    const until = this.now + milliseconds;
    for (;;) {
      const due = Math.min(
        this.station.nextDeadline(),
        this.bridge.nextDeadline(),
        ...this.#events.map(({ at }) => at),
      );
      if (due > until) break;
      this.now = Math.max(this.now, due);
      const events = this.#events.filter(({ at }) => at <= this.now);
      this.#events = this.#events.filter(({ at }) => at > this.now);
      for (const { run } of events) run();
      this.#toStation(this.station.advance(this.now));
      this.#toBridge(this.bridge.advance(this.now));
    }
    this.now = until;
    return this;
  }

  /** Frames of one side with this Ethertype since a time. */
  sent(from: Side, etherType: number, since = 0): EthernetFrame[] {
    return this.frames
      .filter((sent) => sent.from === from && sent.frame.etherType === etherType && sent.at >= since)
      .map(({ frame }) => frame);
  }

  #in(milliseconds: number, run: () => void): void {
    this.#events.push({ at: this.now + milliseconds, run });
  }

  #send(from: Side, frame: EthernetFrame): void {
    this.frames.push({ at: this.now, from, frame });
    if (!this.passes(from, frame)) return;
    frame = this.tampers(from, frame);
    if (from === 'station') this.#in(WIRE, () => this.#arrive(frame));
    else this.#in(WIRE, () => this.#toStation(this.station.frame(frame, this.now)));
  }

  #arrive(frame: EthernetFrame): void {
    const ecpdu = frame.etherType === ETHERTYPE_ECP ? decodeEcpdu(frame.payload) : undefined;
    if (ecpdu === undefined || !this.loses(ecpdu)) {
      this.#toBridge(this.bridge.frame(frame, this.now));
      return;
    }
    const payload = encodeEcpdu({ ...ecpdu, operation: 'ack', ulpdu: new Uint8Array() });
    this.#send('bridge', { ...frame, source: BRIDGE, payload });
  }

  #toStation(effects: StationEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'send') this.#send('station', effect.frame);
      else if (effect.kind === 'settled') {
        if (this.settled.has(effect.ticket)) throw new Error(`ticket ${effect.ticket} is settled twice`);
        this.settled.set(effect.ticket, { at: this.now, error: effect.error });
      } else if (effect.kind === 'durable') {
        const { vsi } = effect;
        this.durable.push(`${vsi.key} ${vsi.wanted?.request ?? 'gone'}`);
      } else if (effect.kind === 'notice') this.notices.push(effect.text);
      else if (effect.kind === 'proven') this.proven.station = effect.proven;
      else if (effect.kind === 'peer') this.kept.station = effect.neighbour?.source;
      else if (effect.kind === 'link') {
        this.shown.station = this.station.relayReason;
        this.told.station++;
      }
    }
  }

  #toBridge(effects: BridgeEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'send') this.#send('bridge', effect.frame);
      else if (effect.kind === 'shape') this.#reshape();
      else if (effect.kind === 'notice') this.notices.push(effect.text);
      else if (effect.kind === 'proven') this.proven.bridge = effect.proven;
      else if (effect.kind === 'peer') this.kept.bridge = effect.neighbour?.source;
      else if (effect.kind === 'link') {
        this.shown.bridge = this.bridge.relayReason;
        this.told.bridge++;
      }
    }
  }

  /** As the daemon's keeper of the port: one round at a time, toward the newest wish. */
  #reshape(): void {
    this.#shapeDue = true;
    if (this.#shaping) return;
    this.#shaping = true;
    const { bridge } = this;
    this.#in(KERNEL, () => {
      const shape = bridge.shape;
      this.#shaping = false;
      this.#shapeDue = false;
      const refused = new Map<MacAddress, string>();
      for (const mac of this.admitted) if (!shape.macs.has(mac)) this.admitted.delete(mac);
      for (const mac of shape.macs) {
        if (this.admitted.has(mac)) continue;
        const problem = this.kernel([mac]);
        if (problem === undefined) this.admitted.add(mac);
        else refused.set(mac, problem);
      }
      this.hairpin = shape.hairpin;
      const state = { hairpin: this.hairpin, macs: new Set(this.admitted), refused };
      if (bridge === this.bridge) this.#toBridge(bridge.kernelIs(state, this.now));
      if (this.#shapeDue) this.#reshape();
    });
  }
}

function remembered(proven: ProvenPeer | undefined, peer: LldpNeighbour | undefined) {
  const whose = proven === undefined ? {} : { proven };
  if (peer?.source === undefined) return whose;
  return { ...whose, peer: { lldpdu: peer.octets, source: peer.source, expires: peer.expires } };
}

export function guestMac(n: number): MacAddress {
  const hex = n.toString(16).padStart(4, '0');
  return `52:54:00:00:${hex.slice(0, 2)}:${hex.slice(2)}` as MacAddress;
}

/** A request for guest `n`. */
export function guest(
  n: number,
  request: VdpRequest = 'associate',
  more: Partial<VsiCommand> = {},
): VsiCommand {
  const id = new Uint8Array(16);
  new DataView(id.buffer).setUint32(12, n);
  const manager = new Uint8Array(16);
  return {
    request,
    manager,
    type: 1,
    typeVersion: 1,
    idFormat: VSIID_LOCAL,
    id,
    filters: [{ mac: guestMac(n), vid: 10 }],
    hint: 'none',
    ...more,
  };
}

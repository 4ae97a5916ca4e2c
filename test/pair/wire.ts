/** A station and a bridge, the real machines, on a wire and a clock that are not. */

import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import { LLDP_TIMING } from '../../protocols/lldp-agent/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { type VdpRequest, VSIID_LOCAL, type VsiCommand } from '../../protocols/vdp/index.ts';
import { Bridge, type BridgeEffect, type BridgePolicy } from '../../src/bridge/bridge.ts';
import type { EvbError } from '../../src/model.ts';
import type { PortOptions } from '../../src/port/port.ts';
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

function options(overrides: Partial<PortOptions>): Omit<PortOptions, 'mac' | 'firstSequence' | 'ecp'> {
  return {
    system: { systemName: 'test', portDescription: 'port', capabilities: { supported: 4, enabled: 4 } },
    lldp: LLDP_TIMING,
    vsisPerEcpdu: Number.POSITIVE_INFINITY,
    outboxMax: 8192,
    ecpSource: 'peer',
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
  /** What the kernel says to admitting these addresses. */
  kernel: (macs: MacAddress[]) => string | undefined = () => undefined;
  readonly #stationPolicy: StationPolicy;
  readonly #bridgePolicy: BridgePolicy;
  readonly #portOptions: Partial<PortOptions>;
  #events: Event[] = [];
  #tickets = 1;
  #sequence = 1;

  constructor(
    station: Partial<StationPolicy> = {},
    bridge: Partial<BridgePolicy> = {},
    port: Partial<PortOptions> = {},
  ) {
    const common = { evb: true, groupIds: false, proposal, vsisPerLink: 4096 };
    this.#stationPolicy = { ...common, reflectiveRelay: 'request', ...station };
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
    this.#toBridge(this.bridge.linkUp(BRIDGE, true, this.#sequence++, this.now));
    this.#toStation(this.station.linkUp(STATION, this.#sequence++, this.now));
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
    this.admitted.clear();
    this.#toBridge(this.bridge.linkUp(BRIDGE, true, this.#sequence++, this.now));
    return this;
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
    this.#toBridge(this.bridge.remove(key, this.now));
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
    if (from === 'station') this.#in(WIRE, () => this.#toBridge(this.bridge.frame(frame, this.now)));
    else this.#in(WIRE, () => this.#toStation(this.station.frame(frame, this.now)));
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
      }
    }
  }

  #toBridge(effects: BridgeEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === 'send') this.#send('bridge', effect.frame);
      else if (effect.kind === 'hairpin') {
        this.#in(KERNEL, () => {
          this.hairpin = effect.on;
          this.#toBridge(this.bridge.relayApplied(effect.on, undefined, this.now));
        });
      } else if (effect.kind === 'admit' || effect.kind === 'revoke') {
        this.#in(KERNEL, () => {
          const problem = effect.kind === 'admit' ? this.kernel(effect.macs) : undefined;
          for (const mac of effect.macs) {
            if (effect.kind === 'revoke') this.admitted.delete(mac);
            else if (problem === undefined) this.admitted.add(mac);
          }
          if (effect.id !== undefined) this.#toBridge(this.bridge.kernelDone(effect.id, problem, this.now));
        });
      }
    }
  }
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

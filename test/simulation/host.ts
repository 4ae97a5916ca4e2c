import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import type { LldpNeighbour } from '../../protocols/lldp-agent/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import type { VsiCommand } from '../../protocols/vdp/index.ts';
import { Bridge, type BridgeEffect, type BridgePolicy } from '../../src/bridge/bridge.ts';
import type { EvbError } from '../../src/model.ts';
import type { LinkUp, PassedOn, RoleOptions } from '../../src/port/role.ts';
import { Station, type StationEffect, type StationPolicy } from '../../src/station/station.ts';
import type { StationVsi } from '../../src/station/vsi.ts';
import { type Journal, Keeper, type KernelPort } from './kernel.ts';
import type { Faults } from './plan.ts';
import type { Random } from './random.ts';
import { Store } from './store.ts';
import type { Timeline } from './timeline.ts';
import { ecpduOf } from './words.ts';

export interface HostSurroundings {
  timeline: Timeline;
  random: Random;
  faults: Faults;
  options: RoleOptions;
  mac: MacAddress;
  send(frame: EthernetFrame): void;
  /** The machine is about to be given a frame. */
  reads(): void;
  /** ECP has given up what was sent last. */
  undelivered(): void;
  /** The machine has been given something and its effects are carried out. */
  moved(): void;
}

interface Machine {
  advance(now: number): unknown[];
  nextDeadline(): number;
}

/** Frames that a frozen daemon's socket keeps for it. */
const SOCKET_MAX = 64;

/** A daemon with one link, as far as src/runtime is one: executes effects, keeps a store, dies and comes back. */
export abstract class Host<M extends Machine & (Station | Bridge), Effect> {
  readonly around: HostSurroundings;
  readonly store: Store;
  machine: M | undefined;
  /** Time of the machine's next deadline; what is frozen misses its own. */
  due = Number.POSITIVE_INFINITY;
  frozen = false;
  /** It runs again and reads what came meanwhile, one thing after the other. */
  catchingUp = false;
  /** How often ECP has begun anew. */
  ecpRuns = 0;
  /** Numbers of the ECPDUs that the peer has acknowledged. */
  readonly acknowledged = new Set<number>();
  #hasPeer = false;
  #inbox: (() => void)[] = [];
  #framesWaiting = 0;
  #carrier = false;
  #released = false;

  constructor(around: HostSurroundings) {
    this.around = around;
    this.store = new Store(around.timeline, around.random);
  }

  get now(): number {
    return this.around.timeline.now;
  }

  get linkUp(): boolean {
    return this.machine?.port !== undefined;
  }

  start(carrier: boolean): void {
    this.frozen = false;
    this.#released = false;
    this.#carrier = carrier;
    this.machine = this.create();
    if (carrier) this.#open(this.store.peer);
    else {
      this.store.peer = undefined;
      this.perform(this.close('no carrier'));
    }
  }

  /** kill -9 */
  kill(stateLost: boolean): void {
    this.store.kill();
    if (stateLost) this.store.forget();
    this.machine = undefined;
    this.due = Number.POSITIVE_INFINITY;
    this.frozen = false;
    this.#inbox = [];
    this.#framesWaiting = 0;
  }

  freeze(): void {
    if (this.machine !== undefined) this.frozen = true;
    this.#schedule();
  }

  thaw(): void {
    if (!this.frozen) return;
    this.frozen = false;
    this.#framesWaiting = 0;
    this.catchingUp = true;
    for (const event of this.#inbox.splice(0)) event();
    this.catchingUp = false;
    this.#schedule();
  }

  /** Something that the daemon learns from outside, once it runs again. */
  tell(event: () => void): void {
    if (this.machine === undefined) return;
    if (this.frozen) this.#inbox.push(event);
    else event();
  }

  carrier(up: boolean): void {
    this.tell(() => {
      if (up === this.#carrier) return;
      this.#carrier = up;
      if (this.#released) return;
      if (up) this.#open(undefined);
      else this.perform(this.close('no carrier'));
    });
  }

  /** A shutdown LLDPDU, then silence. */
  release(): void {
    if (this.machine === undefined || this.#released) return;
    this.#released = true;
    this.perform(this.machine.shutdown(this.now) as Effect[]);
    this.perform(this.close('released'));
  }

  takeUp(): void {
    this.tell(() => {
      if (!this.#released) return;
      this.#released = false;
      if (this.#carrier) this.#open(undefined);
    });
  }

  frame(frame: EthernetFrame): void {
    if (this.machine === undefined) return;
    // Own frames that come back are dropped before the machine, as src/link does.
    if (frame.source === this.around.mac) return;
    if (this.frozen && this.#framesWaiting++ >= SOCKET_MAX) return;
    this.tell(() => this.#take(frame));
  }

  #take(frame: EthernetFrame): void {
    this.around.reads();
    const ecpdu = ecpduOf(frame);
    if (ecpdu?.operation === 'ack') this.acknowledged.add(ecpdu.sequence);
    this.perform(this.receive(frame));
  }

  advance(): void {
    if (this.machine !== undefined) this.perform(this.machine.advance(this.now) as Effect[]);
  }

  protected abstract create(): M;
  protected abstract open(link: LinkUp): Effect[];
  protected abstract close(reason: string): Effect[];
  protected abstract receive(frame: EthernetFrame): Effect[];
  protected abstract execute(effect: Effect): void;

  perform(effects: Effect[]): void {
    for (const effect of effects) this.execute(effect);
    this.#schedule();
    this.around.moved();
  }

  protected common(effect: PassedOn): void {
    if (effect.kind === 'send') this.around.send(effect.frame);
    else if (effect.kind === 'peer') {
      if (effect.neighbour === undefined || !this.#hasPeer) this.ecpRuns++;
      this.#hasPeer = effect.neighbour !== undefined;
      this.#remember(effect.neighbour);
    } else if (effect.kind === 'proven') {
      const { proven } = effect;
      this.store.write(() => {
        this.store.proven = proven;
      });
    } else if (effect.kind === 'undelivered') this.around.undelivered();
  }

  #open(peer: LinkUp['peer']): void {
    this.ecpRuns++;
    this.acknowledged.clear();
    const { proven } = this.store;
    const firstSequence = this.around.random.integer(1, 65535);
    const link = { mac: this.around.mac, firstSequence, ...(proven && { proven }) };
    this.perform(this.open(peer === undefined ? link : { ...link, peer }));
  }

  #remember(neighbour: LldpNeighbour | undefined): void {
    const peer =
      neighbour?.source === undefined
        ? undefined
        : { lldpdu: neighbour.octets, source: neighbour.source, expires: neighbour.expires };
    this.store.write(() => {
      this.store.peer = peer;
    });
  }

  #schedule(): void {
    this.due =
      this.machine === undefined || this.frozen ? Number.POSITIVE_INFINITY : this.machine.nextDeadline();
  }
}

export interface StationSurroundings extends HostSurroundings {
  settled(ticket: number, error: EvbError | undefined): void;
  changed(vsi: StationVsi, removed: boolean): void;
}

export class StationHost extends Host<Station, StationEffect> {
  declare readonly around: StationSurroundings;
  policy: StationPolicy;
  /** As in src/runtime/uplink.ts: wishes that are being written and that the machine does not know yet. */
  readonly written = new Map<string, VsiCommand | undefined>();
  /** Of which VSIs a wish was being written when it was last killed; undefined: all was forgotten then. */
  unheard: Set<string> | undefined;

  constructor(around: StationSurroundings, policy: StationPolicy) {
    super(around);
    this.policy = policy;
  }

  setPolicy(policy: StationPolicy): void {
    this.policy = policy;
    this.tell(() => this.perform(this.machine!.setPolicy(policy, this.now)));
  }

  protected create(): Station {
    const station = new Station(this.policy, this.around.options);
    for (const { wanted, inForce } of this.store.vsis.values()) {
      station.resume(wanted!, inForce, OWNER, '', this.now);
    }
    return station;
  }

  protected open(link: LinkUp): StationEffect[] {
    return this.machine!.linkUp(link, this.now);
  }

  protected close(reason: string): StationEffect[] {
    return this.machine!.linkDown(reason, this.now);
  }

  protected receive(frame: EthernetFrame): StationEffect[] {
    return this.machine!.frame(frame, this.now);
  }

  protected execute(effect: StationEffect): void {
    switch (effect.kind) {
      case 'settled':
        this.around.settled(effect.ticket, effect.error);
        break;
      case 'vsi':
        this.around.changed(effect.vsi, effect.removed);
        break;
      case 'durable':
        this.makeDurable(effect.vsi.key);
        break;
      case 'notice':
        break;
      default:
        this.common(effect);
    }
  }

  /** What users ask for is written before the machine is told; `begun` when it is on the disk. */
  wish(key: string, command: VsiCommand | undefined, begun: () => void): void {
    this.written.set(key, command);
    this.makeDurable(key, () => {
      this.tell(() => {
        if (this.written.get(key) === command) this.written.delete(key);
        begun();
      });
    });
  }

  makeDurable(key: string, done?: () => void): void {
    const vsi = this.machine!.vsis.get(key);
    const wanted = this.written.has(key) ? this.written.get(key) : vsi?.wanted;
    if (wanted === undefined) this.store.delete(key, done);
    else this.store.put(key, { wanted, inForce: vsi?.machine.operCmd }, done);
  }

  override kill(stateLost: boolean): void {
    super.kill(stateLost);
    this.unheard = stateLost ? undefined : new Set(this.written.keys());
    this.written.clear();
  }
}

export const OWNER = 'user';

export interface BridgeSurroundings extends HostSurroundings {
  port: KernelPort;
  refused(key: string, reason: string): void;
}

export class BridgeHost extends Host<Bridge, BridgeEffect> {
  declare readonly around: BridgeSurroundings;
  policy: BridgePolicy;
  readonly journal: Journal = { macs: new Set(), hairpin: false };
  keeper: Keeper | undefined;

  constructor(around: BridgeSurroundings, policy: BridgePolicy) {
    super(around);
    this.policy = policy;
  }

  get port(): KernelPort {
    return this.around.port;
  }

  setPolicy(policy: BridgePolicy): void {
    this.policy = policy;
    this.tell(() => this.perform(this.machine!.setPolicy(policy, this.now)));
  }

  setBridged(bridged: boolean): void {
    this.port.bridged = bridged;
    if (!bridged) this.port.forget();
    this.tell(() => {
      this.keeper!.forget();
      this.keeper!.reshape();
      this.perform(this.machine!.setBridged(bridged, this.now));
    });
  }

  override kill(stateLost: boolean): void {
    super.kill(stateLost);
    this.keeper?.kill();
    this.keeper = undefined;
    if (!stateLost) return;
    // The whole switch was switched off and on.
    this.port.forget();
    this.journal.macs.clear();
    this.journal.hairpin = false;
  }

  protected create(): Bridge {
    const bridge = new Bridge(this.policy, this.around.options);
    for (const { inForce } of this.store.vsis.values()) bridge.resume(inForce!, this.now);
    const { timeline, random, faults, port } = this.around;
    const keeper = new Keeper({
      timeline,
      random,
      port,
      faults,
      journal: this.journal,
      shape: () => bridge.shape,
      tell: (event) => this.tell(event),
      onState: (state) => this.perform(bridge.kernelIs(state, this.now)),
    });
    this.keeper = keeper;
    this.machine = bridge;
    keeper.reshape();
    this.perform(bridge.setBridged(port.bridged, this.now));
    return bridge;
  }

  protected open(link: LinkUp): BridgeEffect[] {
    const hairpin = this.journal.hairpin && this.port.hairpin;
    return this.machine!.linkUp({ ...link, hairpin }, this.now);
  }

  protected close(reason: string): BridgeEffect[] {
    return this.machine!.linkDown(reason, this.now);
  }

  protected receive(frame: EthernetFrame): BridgeEffect[] {
    return this.machine!.frame(frame, this.now);
  }

  protected execute(effect: BridgeEffect): void {
    switch (effect.kind) {
      case 'shape':
        this.keeper!.reshape();
        break;
      case 'durable':
        if (effect.inForce === undefined) this.store.delete(effect.vsi.key);
        else this.store.put(effect.vsi.key, { inForce: effect.inForce });
        break;
      case 'refused':
        this.around.refused(effect.vsi.key, effect.reason);
        break;
      case 'vsi':
        break;
      default:
        this.common(effect);
    }
  }
}

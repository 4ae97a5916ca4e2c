import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import type { LldpNeighbour, LldpTiming } from '../../protocols/lldp-agent/index.ts';
import { fromHex, type MacAddress, toHex } from '../../protocols/octets/index.ts';
import type { Link as KernelLink } from '../../protocols/rtnetlink/index.ts';
import type { VdpTimers } from '../../protocols/vdp/index.ts';
import type { Config, PortConfig, UplinkConfig } from '../config/config.ts';
import type { Profile } from '../config/profile.ts';
import type { Rtnetlink } from '../kernel/rtnetlink.ts';
import type { Slave } from '../kernel/slave-watch.ts';
import { BondLink } from '../link/bond.ts';
import { Link, type LinkCounters, type LinkOptions } from '../link/link.ts';
import { TokenBucket } from '../link/token-bucket.ts';
import {
  EvbError,
  type LinkStatus,
  type RelayState,
  type Role,
  type SlaveStatus,
  type VsiStatus,
} from '../model.ts';
import type { ProvenPeer } from '../port/peer-choice.ts';
import type { Port } from '../port/port.ts';
import type { LinkUp, PassedOn, RememberedPeer, RoleOptions } from '../port/role.ts';
import type { SocketError } from '../raw-socket/index.ts';
import type { Store, StoredPeer, StoredProven } from '../store/store.ts';
import { Alarm, fromEpoch, now, toEpoch } from './clock.ts';
import type { Leak, LeakKeeper } from './leak-keeper.ts';
import { interopOptions, lldpTiming } from './settings.ts';
import { linkTimers, peerStatus } from './status.ts';

export interface Log {
  debug(fields: object, text: string): void;
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

/** What a driver needs of the daemon around it. */
export interface Surroundings {
  readonly store: Store;
  readonly rtnetlink: Rtnetlink;
  readonly leaks: Pick<LeakKeeper, 'serve' | 'release' | 'leak'>;
  readonly log: Log;
  linkOf(index: number): KernelLink | undefined;
  /** Of a bond. */
  membersOf(index: number): KernelLink[];
  linkChanged(): void;
  vsiChanged(vsi: VsiStatus, removed: boolean): void;
  frame(sent: boolean, octets: Uint8Array): void;
  /** As SlaveWatch.placeOf. */
  placeOf(namespaceId: number | undefined): Promise<string | undefined>;
  /** Rejects with KernelError. */
  setSlaveMode(slave: Slave, mode: 'vepa' | 'bridge', place: string | undefined): Promise<void>;
}

/** What both roles' machines have in common. */
interface Machine<Effect, Vsi> {
  readonly port: Port | undefined;
  readonly protocol: LinkStatus['protocol'];
  readonly relay: RelayState;
  readonly relayReason: string;
  readonly timers: VdpTimers;
  readonly counters: Record<string, number>;
  readonly vsis: ReadonlyMap<string, Vsi>;
  setLldpTiming(timing: LldpTiming, now: number): Effect[];
  setOptions(options: Partial<RoleOptions>): void;
  frame(frame: EthernetFrame, now: number): Effect[];
  advance(now: number): Effect[];
  nextDeadline(): number;
  linkDown(reason: string, now: number): Effect[];
  shutdown(now: number): Effect[];
}

/** What the configuration says of one link, and what it says of all. */
export interface LinkSettings<LinkConfig extends Pick<UplinkConfig | PortConfig, 'lldp' | 'interop'>> {
  config: LinkConfig;
  limits: Config['limits'];
  profiles: readonly Profile[];
}

type CommonSettings = LinkSettings<Pick<UplinkConfig | PortConfig, 'lldp' | 'interop'>>;

/** Milliseconds that a goodbye may take at each of its steps. */
const GOODBYE_MAX = 2_000;
const REOPEN_AFTER = 5_000;
const LOG_LINES_PER_SECOND = 20;

/**
 * Runs the machine of one configured interface: opens and closes its socket as the kernel's link comes and goes, gives it
 * frames and time, executes its effects. The interface may not exist yet; then the driver waits for it.
 */
export abstract class LinkDriver<Effect extends { kind: string }, Vsi extends { readonly id: string }> {
  readonly name: string;
  abstract readonly role: Role;
  protected readonly around: Surroundings;
  protected abstract readonly machine: Machine<Effect, Vsi>;
  protected link: KernelLink | undefined;
  protected framesPerSecond: number;
  #socket: Link | BondLink | undefined;
  /** Of a bond, those that carry frames. */
  #members: readonly KernelLink[] = [];
  #counters: LinkCounters | undefined;
  #remembered: StoredPeer | undefined;
  #proven: StoredProven | undefined;
  /** releasing: goodbye is being said. */
  #state: 'serving' | 'releasing' | 'released' | 'stopped' = 'serving';
  #begun = false;
  #told = '';
  /** The peer's last LLDPDU. */
  #saying: string | undefined;
  readonly #logLines = new TokenBucket(LOG_LINES_PER_SECOND, now());
  #logLinesLost = 0;
  readonly #alarm = new Alarm(() => this.perform(this.machine.advance(now())));
  #drained: (() => void)[] = [];
  #unheard: (() => void)[] = [];
  #retry: NodeJS.Timeout | undefined;

  constructor(name: string, around: Surroundings, framesPerSecond: number) {
    this.name = name;
    this.around = around;
    this.framesPerSecond = framesPerSecond;
  }

  status(): LinkStatus {
    const { machine } = this;
    return {
      name: this.name,
      role: this.role,
      mac: this.link?.mac ?? '',
      protocol: machine.protocol,
      relay: machine.relay,
      relayReason: this.absence ?? machine.relayReason,
      leak: this.leak.state,
      leakReason: this.leak.reason,
      members: this.#members.map(({ name }) => name),
      peer: peerStatus(machine.port),
      timers: linkTimers(machine.timers, machine.port),
      counters: { ...this.counters, ...machine.counters, vsis: machine.vsis.size },
      slaves: this.slaves,
    };
  }

  vsis(): VsiStatus[] {
    return [...this.machine.vsis.values()].map((vsi) => this.vsiStatus(vsi));
  }

  /** `id` as users write it, in either case. */
  has(id: string): boolean {
    return this.find(id) !== undefined;
  }

  get released(): boolean {
    return this.#state === 'releasing' || this.#state === 'released';
  }

  /** Whatever comes in late has no effect any more. */
  protected get stopped(): boolean {
    return this.#state === 'stopped';
  }

  /** What a run before left for this link; before the first update(). */
  async recall(): Promise<void> {
    this.#remembered = await this.around.store.peer(this.name);
    this.#proven = await this.around.store.proven(this.name);
  }

  /** The kernel's link of this name as it is now; undefined: there is none. */
  update(link: KernelLink | undefined): void {
    if (this.#state === 'stopped') return;
    const before = this.link;
    this.link = link;
    this.#begun = true;
    this.#setMembers(link?.kind === 'bond' ? this.around.membersOf(link.index).filter(carriesFrames) : []);
    this.kernelChanged();
    const usable =
      link?.lowerUp &&
      link.mac !== undefined &&
      this.#state !== 'released' &&
      this.#aggregation === undefined;
    const same = before?.index === link?.index && before?.mac === link?.mac;
    if (usable && same && this.#peerStayedBehind)
      this.#close('other members of the bond carry its frames now');
    if (this.#socket !== undefined && !(usable && same)) {
      // The peer knows us by our old address: it would keep that neighbour, and hear nobody else, until its TTL has run out.
      if (usable && before?.index === link.index) this.perform(this.machine.shutdown(now()));
      this.#close(this.#absence(same));
    }
    if (this.#socket === undefined && usable) this.#open(link.index, link.mac!);
    else if (this.#socket instanceof BondLink) this.#follow(this.#socket);
    else if (this.#socket === undefined) {
      // A peer remembered from before is not the one that will be there when the link comes back.
      if (this.#remembered !== undefined) this.#forgetPeer();
      this.perform(this.machine.linkDown(this.#absence(true), now()));
    }
  }

  /**
   * Deassociated, goodbye said, kernel as it was: silent until taken up again. Rejects when the kernel is not as it was; what is
   * left of that is done when it is asked for again.
   */
  async release(): Promise<void> {
    if (this.#state === 'serving') await this.#sayGoodbye();
    if (this.#state !== 'released') return;
    try {
      await this.restoreKernel();
    } catch (error) {
      const text = `released, but not all is as it was before: ${(error as Error).message}`;
      throw new EvbError('NotReady', `${this.name}: ${text}; release it again once that is mended`);
    } finally {
      this.linkChanged();
      await this.around.store.putPeer(this.name, undefined);
    }
  }

  async #sayGoodbye(): Promise<void> {
    this.#state = 'releasing';
    // A peer that does not even acknowledge has nothing to be told.
    await Promise.race([
      this.letGo(),
      new Promise<void>((resolve) => this.#unheard.push(resolve)),
      pause(GOODBYE_MAX),
    ]);
    await this.drained();
    this.perform(this.machine.shutdown(now()));
    this.#state = 'released';
    this.update(this.link);
  }

  takeUp(): void {
    if (this.#state !== 'released') return;
    this.#state = 'serving';
    this.update(this.link);
  }

  /** Ends without a word on the wire and without a change of the kernel; resolves when changes under way are done. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#alarm.cancel();
    clearTimeout(this.#retry);
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** `this.link` is new. */
  protected kernelChanged(): void {}

  /** The link is no longer in use. */
  protected closed(_reason: string): void {}

  protected abstract vsiStatus(vsi: Vsi): VsiStatus;

  protected find(id: string): Vsi | undefined {
    const wanted = id.toLowerCase();
    return [...this.machine.vsis.values()].find((vsi) => vsi.id === wanted);
  }

  /** The settings that both roles have, as far as they differ. */
  protected applyCommon(before: CommonSettings, after: CommonSettings): void {
    if (!isDeepStrictEqual(before.config.lldp, after.config.lldp)) {
      this.perform(this.machine.setLldpTiming(lldpTiming(after.config.lldp), now()));
    }
    this.framesPerSecond = after.limits['frames-per-second'];
    this.#socket?.limit(this.framesPerSecond);
    if (isDeepStrictEqual(before.config.interop, after.config.interop)) return;
    this.machine.setOptions(interopOptions(after.config.interop));
    // The link begins anew with them.
    if (this.#socket !== undefined) this.#close('interop has changed');
    this.update(this.link);
  }

  /** Ends the VSIs of this link before it is released. */
  protected abstract letGo(): Promise<void>;
  protected abstract restoreKernel(): Promise<void>;
  protected abstract opened(link: LinkUp): Effect[];
  protected abstract execute(effect: Effect): void;

  protected perform(effects: readonly Effect[]): void {
    if (this.#state === 'stopped') return;
    for (const effect of effects) this.execute(effect);
    this.#alarm.set(this.machine.nextDeadline());
    if (this.#isDrained) for (const drained of this.#drained.splice(0)) drained();
  }

  /** Resolves when the peer has acknowledged what was sent, or ECP has given up, or it takes too long. */
  protected drained(): Promise<void> {
    if (this.#isDrained) return Promise.resolve();
    return Promise.race([new Promise<void>((resolve) => this.#drained.push(resolve)), pause(GOODBYE_MAX)]);
  }

  get #isDrained(): boolean {
    return this.machine.port === undefined || this.machine.port.drained;
  }

  protected executeCommon(effect: PassedOn): void {
    switch (effect.kind) {
      case 'send':
        this.#socket?.send(effect.frame);
        break;
      case 'peer':
        this.#remember(effect.neighbour);
        break;
      case 'proven':
        this.#keepProven(effect.proven);
        break;
      case 'undelivered':
        for (const unheard of this.#unheard.splice(0)) unheard();
        this.log('debug', `an ECP request was not acknowledged in ${effect.attempts} transmissions`);
        break;
      case 'link':
        this.linkChanged();
        break;
      case 'notice':
        this.log('info', effect.text);
        break;
    }
  }

  /** What a peer can cause is bounded: beyond some lines a second only their number is told. */
  protected log(level: keyof Log, text: string): void {
    if (!this.#logLines.take(now())) {
      this.#logLinesLost++;
      return;
    }
    const lost = this.#logLinesLost;
    this.#logLinesLost = 0;
    if (lost > 0) this.around.log.warn({ link: this.name }, `${lost} lines about this link were left out`);
    this.around.log[level]({ link: this.name }, text);
  }

  /** For a promise whose failure is worth a line and nothing else. */
  protected report(promise: Promise<unknown>, what: string): void {
    promise.catch((error: Error) => this.log('error', `${what}: ${error.message}`));
  }

  protected get counters(): Record<string, number> {
    const { port } = this.machine;
    const link = this.#socket?.counters ?? this.#counters;
    return { ...link, ...port?.lldp.counters, ...port?.ecpCounters, ...port?.counters };
  }

  /** Whether EVB frames get from here to where they do not belong. */
  protected get leak(): Leak {
    return { state: 'none', reason: '' };
  }

  /** What stands on top of the link. */
  protected get slaves(): SlaveStatus[] {
    return [];
  }

  /** Why the link is not in use; undefined when it is. */
  protected get absence(): string | undefined {
    return this.#socket === undefined ? this.#absence(true) : undefined;
  }

  protected linkChanged(): void {
    if (this.stopped) return;
    const { relay, relayReason } = this.status();
    const told = `relay ${relay}: ${relayReason}`;
    if (told !== this.#told) {
      this.#told = told;
      this.log('info', told);
    }
    this.around.linkChanged();
  }

  #absence(same: boolean): string {
    if (this.released) return 'released; evbctl reload takes it up again';
    if (!this.#begun) return 'starting';
    if (this.link === undefined) return 'there is no such interface; waiting for it';
    if (this.link.mac === undefined) return 'it has no MAC address';
    if (!this.link.up) return 'the interface is down (ip link set up)';
    if (!this.link.lowerUp) return 'no carrier';
    return this.#aggregation ?? (same ? 'not opened' : 'its MAC address changed');
  }

  #setMembers(members: readonly KernelLink[]): void {
    const names = (of: readonly KernelLink[]) => of.map(({ name }) => name).join(', ');
    const changed = names(members) !== names(this.#members);
    this.#members = members;
    if (!changed) return;
    this.log('info', `members that carry the frames of the bond: ${names(members) || 'none'}`);
    this.around.linkChanged();
  }

  /** Why a bond, or a member of one, cannot be used. */
  get #aggregation(): string | undefined {
    const { kind, member, master } = this.link!;
    if (kind === 'bond' && this.#members.length === 0) return 'no member of the bond carries frames';
    if (member === undefined) return undefined;
    const aggregate = this.around.linkOf(master ?? 0)?.name ?? 'another interface';
    return `it is a member of ${member.of} ${aggregate}; configure ${aggregate} instead`;
  }

  /** The member of the bond that the peer was heard on carries no frames any more: there may be another at the end of the others. */
  get #peerStayedBehind(): boolean {
    if (!(this.#socket instanceof BondLink)) return false;
    const { heardOn } = this.#socket;
    return heardOn !== undefined && !this.#members.some(({ index }) => index === heardOn);
  }

  #follow(bond: BondLink): void {
    try {
      bond.setMembers(this.#members.map(({ index }) => index));
    } catch (error) {
      this.#cannotOpen(error as SocketError);
    }
  }

  #open(interfaceIndex: number, mac: MacAddress): void {
    const options: LinkOptions = {
      interfaceIndex,
      mac,
      framesPerSecond: this.framesPerSecond,
      peers: () => this.machine.port?.peerMacs ?? [],
      now,
      onFrame: (frame, octets) => {
        this.around.frame(false, octets);
        this.perform(this.machine.frame(frame, now()));
      },
      onSent: (octets) => this.around.frame(true, octets),
      onError: (error) => this.#socketError(error),
    };
    const members = this.#members.map(({ index }) => index);
    try {
      this.#socket = members.length > 0 ? new BondLink(options, members) : new Link(options);
    } catch (error) {
      this.#cannotOpen(error as SocketError);
      return;
    }
    const peer = this.#recalledPeer();
    const proven = this.#recalledProven();
    const link = { mac, firstSequence: randomInt(1, 65536), ...(proven && { proven }) };
    this.perform(this.opened(peer === undefined ? link : { ...link, peer }));
  }

  #cannotOpen({ code, message }: SocketError): void {
    // Of an interface that has gone the kernel's events tell.
    if (code === 'ENODEV' || code === 'ENXIO') return;
    this.log('error', `cannot open a packet socket: ${message}; trying again`);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.update(this.link), REOPEN_AFTER);
  }

  #recalledPeer(): RememberedPeer | undefined {
    const peer = this.#remembered;
    this.#remembered = undefined;
    const lldpdu = peer && fromHex(peer.lldpdu);
    if (lldpdu === undefined) return undefined;
    return { lldpdu, source: peer!.source as MacAddress, expires: fromEpoch(peer!.expires) };
  }

  #recalledProven(): ProvenPeer | undefined {
    const proven = this.#proven;
    this.#proven = undefined;
    return proven && { ...proven, source: proven.source as MacAddress, until: fromEpoch(proven.until) };
  }

  #keepProven(proven: ProvenPeer | undefined): void {
    const stored = proven && { ...proven, until: toEpoch(proven.until) };
    this.report(this.around.store.putProven(this.name, stored), 'whose place that of the peer is');
  }

  #forgetPeer(): void {
    this.#remembered = undefined;
    this.report(this.around.store.putPeer(this.name, undefined), 'the peer is not forgotten');
  }

  #close(reason: string): void {
    this.#counters = this.#socket!.counters;
    this.#socket!.close();
    this.#socket = undefined;
    this.closed(reason);
    this.perform(this.machine.linkDown(reason, now()));
  }

  /** The kernel's events tell of links that go down or away. */
  #socketError(error: SocketError): void {
    if (error.code !== 'ENETDOWN' && error.code !== 'ENXIO')
      this.log('warn', `packet socket: ${error.message}`);
  }

  #remember(neighbour: LldpNeighbour | undefined): void {
    const peer =
      neighbour?.source === undefined
        ? undefined
        : {
            lldpdu: toHex(neighbour.octets),
            source: neighbour.source,
            expires: toEpoch(neighbour.expires),
          };
    this.report(this.around.store.putPeer(this.name, peer), 'the peer is not remembered');
    // Much of what it says of itself is shown and changes nothing else.
    if (peer?.lldpdu === this.#saying) return;
    this.#saying = peer?.lldpdu;
    this.linkChanged();
  }
}

function carriesFrames({ lowerUp, member }: KernelLink): boolean {
  return lowerUp && member?.active === true;
}

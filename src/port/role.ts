import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import type { EvbBridge, EvbDraft, EvbEffect, EvbStation } from '../../protocols/evb/index.ts';
import type { LldpTiming } from '../../protocols/lldp-agent/index.ts';
import { decodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { DecodeError, type MacAddress } from '../../protocols/octets/index.ts';
import type { VdpDialect, VdpPdu, VdpTimers } from '../../protocols/vdp/index.ts';
import type { DialectName } from '../model.ts';
import { type Dialect, type DialectOptions, dialects, type EvbTlvs } from './dialect.ts';
import { type ProvenPeer, recalled } from './peer-choice.ts';
import { Port, type PortEffect, type PortOptions } from './port.ts';

/** What a role's port needs besides what is known only when the link is there. */
export type RoleOptions = Omit<
  PortOptions,
  'mac' | 'firstSequence' | 'ecp' | 'dialect' | 'protocol' | 'proven'
> &
  Omit<DialectOptions, 'role'> & {
    /** Of a bridge, what tells VSIs apart: lldpad's stations may have several of one VSIID (vdp.md 2.1). */
    vsiKey: 'vsiid' | 'lldpad';
    /** Of a bridge: the ack bit in a DeAssociate that nobody asked for. */
    deassocAck: boolean;
  };

/** The EVB peer of an earlier run, to go on from. `expires`: time of the monotonic clock. */
export interface RememberedPeer {
  lldpdu: Uint8Array;
  source: MacAddress;
  expires: number;
}

/** A link that has come up. `firstSequence` 1..65535, random. */
export interface LinkUp {
  mac: MacAddress;
  firstSequence: number;
  peer?: RememberedPeer;
  /** Of a run before; what was proven since counts more. */
  proven?: ProvenPeer;
}

export type PassedOn = Exclude<PortEffect, { kind: 'evb' | 'vdp' | 'dialect' }> | { kind: 'link' };

/**
 * The half of Station and Bridge that does not depend on the role: the port while the link is up, EVB over LLDP, the dialect that
 * is spoken, timers that follow the negotiated parameters. Without sockets and clocks: every method takes `now` (milliseconds,
 * monotonic) and returns what is to be done.
 */
export abstract class Role<Own, Ratified extends EvbStation | EvbBridge> {
  protected options: RoleOptions;
  readonly #role: DialectOptions['role'];
  #protocol: PortOptions['protocol'];
  #dialects: Readonly<Record<DialectName, Dialect>>;
  /** What is spoken, or will be when the link is up. It outlives the link: the same switch will be there again. */
  #dialect: Dialect;
  #port: Port | undefined;
  #timers: VdpTimers | undefined;
  /** Why there is no EVB peer. */
  #lost = 'no EVB peer heard yet';
  #absence = 'starting';
  /** Whose place that of the EVB peer is; it outlives the link too. */
  #proven: ProvenPeer | undefined;
  #told = '';

  constructor(role: DialectOptions['role'], protocol: PortOptions['protocol'], options: RoleOptions) {
    this.#role = role;
    this.#protocol = protocol;
    this.options = options;
    this.#dialects = dialects({ ...options, role });
    this.#dialect = this.#dialects[protocol === 'draft' ? 'draft' : 'ratified'];
  }

  /** EVB of either dialect; the one that is not spoken hears nothing and says nothing. */
  protected abstract readonly ratified: Ratified;
  protected abstract readonly draft: EvbDraft;
  protected abstract readonly evbEnabled: boolean;
  /** Effects of the EVB machine that only this role knows how to carry out. */
  protected abstract evbEffect(effect: EvbEffect, now: number): (Own | PassedOn)[];
  /** The peer's EVB TLV was heard, or is gone. */
  protected heard(_now: number): (Own | PassedOn)[] {
    return [];
  }
  protected abstract vdp(pdu: VdpPdu, now: number): (Own | PassedOn)[];
  abstract readonly vsis: ReadonlyMap<string, { machine: { timers: VdpTimers; dialect: VdpDialect } }>;
  /** Another dialect will be spoken: `evb` has no peer any more. */
  protected dialectChanges(_reason: string, _now: number): (Own | PassedOn)[] {
    return [];
  }
  /** Why relay is as it is; `lost` says why there is no peer. */
  protected abstract relayReasonOf(lost: string): string;

  get port(): Port | undefined {
    return this.#port;
  }

  get evb(): Ratified | EvbDraft {
    return this.#dialect.name === 'draft' ? this.draft : this.ratified;
  }

  /** What is spoken with the peer that is there. */
  get protocol(): DialectName | 'none' {
    return this.evb.remote === undefined ? 'none' : this.#dialect.name;
  }

  get timers(): VdpTimers {
    this.#timers ??= this.#dialect.timers(this.ratified.operational);
    return this.#timers;
  }

  protected get vdpDialect(): VdpDialect {
    return this.#dialect.vdp;
  }

  /** Why relay is as it is, or why the link is not in use. */
  get relayReason(): string {
    return this.#port === undefined
      ? this.#absence
      : this.relayReasonOf(this.#port.otherDialect ?? this.#lost);
  }

  /** VDP can be spoken: there is a link and an EVB peer on it. */
  get vdpUp(): boolean {
    return this.#port !== undefined && this.evb.vdpAgreed;
  }

  frame(frame: EthernetFrame, now: number): (Own | PassedOn)[] {
    return this.#port === undefined ? [] : this.#listened(this.#port.frame(frame, now), now);
  }

  /** Goodbye: a shutdown LLDPDU, after which the peer forgets us at once, and we whose place its was. */
  shutdown(now: number): (Own | PassedOn)[] {
    const effects = this.#port === undefined ? [] : this.fromPort(this.#port.shutdown(now), now);
    this.#proven = undefined;
    return [...effects, { kind: 'proven', proven: undefined }];
  }

  setLldpTiming(timing: LldpTiming, now: number): (Own | PassedOn)[] {
    this.options.lldp = timing;
    return this.#port === undefined ? [] : this.fromPort(this.#port.setLldpTiming(timing, now), now);
  }

  /** Other options, from the next time on that the link comes up. */
  setOptions(options: Partial<RoleOptions>): void {
    this.options = { ...this.options, ...options };
  }

  /** What follows from the remembered peer is in the first LLDPDU already. */
  protected bringUp(link: LinkUp, now: number): (Own | PassedOn)[] {
    const { mac, firstSequence, peer } = link;
    this.#proven ??= recalled(link.proven, now);
    this.#lost = this.evbEnabled ? 'no EVB peer heard yet' : 'EVB is off on this link';
    const resumesDraft = peer !== undefined && this.#protocol === 'auto' && this.#spokeDraft(peer.lldpdu);
    this.#dialects = dialects({ ...this.options, role: this.#role });
    this.#dialect = this.#dialects[resumesDraft ? 'draft' : this.#dialect.name];
    this.#retime();
    const dialect = this.#dialect;
    this.#port = new Port({
      ...this.options,
      mac,
      firstSequence,
      protocol: this.#protocol,
      dialect,
      ecp: this.#ecpTiming(),
      proven: this.#proven,
    });
    this.#port.setEvbTlv(this.#advertised, now);
    const resumed =
      peer === undefined ? [] : this.#port.resumePeer(peer.lldpdu, peer.source, peer.expires, now);
    return this.fromPort(resumed, now);
  }

  protected begin(now: number): (Own | PassedOn)[] {
    return [...this.fromPort(this.#port!.setEnabled(true, now), now), ...this.linkChanged()];
  }

  protected bringDown(reason: string, now: number): (Own | PassedOn)[] {
    const effects = this.#port === undefined ? [] : this.fromPort(this.#port.setEnabled(false, now), now);
    this.#port = undefined;
    this.#absence = reason;
    return effects;
  }

  protected advancePort(now: number): (Own | PassedOn)[] {
    return this.#port === undefined ? [] : this.#listened(this.#port.advance(now), now);
  }

  protected portDeadline(): number {
    return this.#port?.nextDeadline() ?? Number.POSITIVE_INFINITY;
  }

  /** Gives ECP what waits, when it is free. */
  protected flush(now: number): (Own | PassedOn)[] {
    return this.#port === undefined ? [] : this.fromPort(this.#port.flush(now), now);
  }

  /** What the peer is to know goes out first: it may not listen to the rest before. */
  protected fromEvb(effects: EvbEffect[], now: number): (Own | PassedOn)[] {
    const ahead = (effect: EvbEffect) => effect.kind === 'operational' || effect.kind === 'localChange';
    return [...effects.filter(ahead), ...effects.filter((effect) => !ahead(effect))].flatMap(
      (effect): (Own | PassedOn)[] => {
        if (effect.kind === 'localChange') {
          return this.evbEnabled ? this.tellEvb(now) : [];
        }
        if (effect.kind === 'operational') {
          this.#retime();
          this.#port?.setEcpTiming(this.#ecpTiming());
          return [];
        }
        return this.evbEffect(effect, now);
      },
    );
  }

  /** The link's status is told anew when what it says about relay, or how many neighbours speak EVB, has changed. */
  protected linkChanged(always = true): (Own | PassedOn)[] {
    const told = `${this.#port?.rivals.length} ${this.relayReason}`;
    if (!always && told === this.#told) return [];
    this.#told = told;
    return [LINK];
  }

  protected fromPort(effects: PortEffect[], now: number): (Own | PassedOn)[] {
    return effects.flatMap((effect): (Own | PassedOn)[] => {
      if (effect.kind === 'vdp') return this.evbEnabled ? this.vdp(effect.pdu, now) : [];
      if (effect.kind === 'dialect') return this.#speak(effect.name, effect.reason, now);
      if (effect.kind === 'proven') this.#proven = effect.proven;
      if (effect.kind !== 'evb') return [effect];
      if (!this.evbEnabled) return [];
      const { tlvs, reason } = effect;
      if (tlvs === undefined) this.#lost = reason;
      const done = this.fromEvb(tlvs === undefined ? this.evb.lost(reason) : this.#hear(tlvs), now);
      return [...done, ...this.heard(now), ...this.linkChanged(done.length > 0)];
    });
  }

  /** Neighbours that are no EVB peers come and go too: they are shown, and may be a reason why there is none. */
  #listened(effects: PortEffect[], now: number): (Own | PassedOn)[] {
    return [...this.fromPort(effects, now), ...this.linkChanged(false)];
  }

  /** `protocol` of the configuration; auto begins with the standard. */
  protected setProtocol(protocol: PortOptions['protocol'], now: number): (Own | PassedOn)[] {
    if (protocol === this.#protocol) return [];
    this.#protocol = protocol;
    this.#port?.setProtocol(protocol);
    const name = protocol === 'draft' ? 'draft' : 'ratified';
    return name === this.#dialect.name ? [] : this.#speak(name, `protocol: ${protocol}`, now);
  }

  /** What both machines say to the same thing; the one that is not spoken hears nobody, and nobody hears it. */
  protected fromBoth(ratified: EvbEffect[], draft: EvbEffect[], now: number): (Own | PassedOn)[] {
    return this.fromEvb(this.#dialect.name === 'draft' ? draft : ratified, now);
  }

  /** cvsi of the draft. */
  protected countVsis(vsis: number, now: number): (Own | PassedOn)[] {
    const effects = this.draft.setVsis(vsis);
    return this.#dialect.name === 'draft' ? this.fromEvb(effects, now) : [];
  }

  /** EVB was switched on or off while the link is up. */
  protected switchEvb(now: number): (Own | PassedOn)[] {
    const lost = this.evbEnabled ? [] : this.evb.lost('EVB is off on this link');
    return [...this.tellEvb(now), ...this.fromEvb(lost, now)];
  }

  /** Our EVB TLV goes out, news or not. */
  protected tellEvb(now: number): (Own | PassedOn)[] {
    return this.#port === undefined ? [] : this.fromPort(this.#port.setEvbTlv(this.#advertised, now), now);
  }

  /** What was said in one dialect does not count in the other. */
  #speak(name: DialectName, reason: string, now: number): (Own | PassedOn)[] {
    const ended = [...this.fromEvb(this.evb.lost(reason), now), ...this.dialectChanges(reason, now)];
    this.#dialect = this.#dialects[name];
    this.#lost = reason;
    this.#retime();
    const heard = this.#port?.speak(this.#dialect, this.#ecpTiming(), this.#advertised, now) ?? [];
    return [...ended, { kind: 'notice', text: reason }, ...this.fromPort(heard, now), ...this.linkChanged()];
  }

  #hear(tlvs: EvbTlvs): EvbEffect[] {
    if (this.#dialect.name === 'draft') return this.draft.receive(tlvs.evbDraft);
    return this.ratified.receive(tlvs.evb, 'the peer has the same role');
  }

  get #advertised(): EvbTlvs | undefined {
    if (!this.evbEnabled) return undefined;
    return this.#dialect.name === 'draft' ? { evbDraft: this.draft.tlv } : { evb: this.ratified.tlv };
  }

  /** Whether the last LLDPDU that an earlier run heard had the draft's TLV and no other. */
  #spokeDraft(octets: Uint8Array): boolean {
    try {
      const { evb, evbDraft } = decodeLldpdu(octets).lldpdu;
      return evb === undefined && evbDraft !== undefined;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return false;
    }
  }

  /** What was negotiated, or the dialect, has changed. */
  #retime(): void {
    const timers = this.#dialect.timers(this.ratified.operational);
    this.#timers = timers;
    for (const { machine } of this.vsis.values()) {
      machine.timers = timers;
      machine.dialect = this.vdpDialect;
    }
  }

  #ecpTiming() {
    return this.#dialect.ecpTiming(this.ratified.operational);
  }
}

const LINK: PassedOn = { kind: 'link' };

import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import type { EvbEffect } from '../../protocols/evb/index.ts';
import type { LldpTiming } from '../../protocols/lldp-agent/index.ts';
import type { EvbParameters, EvbTlv } from '../../protocols/lldp-codec/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { type VdpPdu, type VdpTimers, vdpTimers } from '../../protocols/vdp/index.ts';
import { Port, type PortEffect, type PortOptions } from './port.ts';

/** What a role's port needs besides what is known only when the link is there. */
export type RoleOptions = Omit<PortOptions, 'mac' | 'firstSequence' | 'ecp'>;

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
}

/** What EvbStation and EvbBridge have in common. */
interface Evb {
  readonly tlv: EvbTlv;
  readonly operational: EvbParameters;
  readonly remote: EvbTlv | undefined;
  receive(tlv: EvbTlv | undefined, reason: string): EvbEffect[];
  lost(reason: string): EvbEffect[];
}

export type PassedOn = Exclude<PortEffect, { kind: 'evb' | 'vdp' }> | { kind: 'link' };

/**
 * The half of Station and Bridge that does not depend on the role: the port while the link is up, EVB over LLDP, timers that
 * follow the negotiated parameters. Without sockets and clocks: every method takes `now` (milliseconds, monotonic) and returns
 * what is to be done.
 */
export abstract class Role<Own> {
  protected readonly options: RoleOptions;
  #port: Port | undefined;
  #timers: VdpTimers | undefined;
  /** Why there is no EVB peer. */
  #lost = 'no EVB peer heard yet';
  #absence = 'starting';
  #told = '';

  constructor(options: RoleOptions) {
    this.options = options;
  }

  abstract readonly evb: Evb;
  protected abstract readonly evbEnabled: boolean;
  /** Effects of the EVB machine that only this role knows how to carry out. */
  protected abstract evbEffect(effect: EvbEffect, now: number): (Own | PassedOn)[];
  /** The peer's EVB TLV was heard, or is gone. */
  protected heard(_now: number): (Own | PassedOn)[] {
    return [];
  }
  protected abstract vdp(pdu: VdpPdu, now: number): (Own | PassedOn)[];
  /** The timers of the VSIs changed. */
  protected abstract retime(timers: VdpTimers): void;
  /** Why relay is as it is; `lost` says why there is no peer. */
  protected abstract relayReasonOf(lost: string): string;

  get port(): Port | undefined {
    return this.#port;
  }

  get timers(): VdpTimers {
    this.#timers ??= vdpTimers(this.evb.operational);
    return this.#timers;
  }

  /** Why relay is as it is, or why the link is not in use. */
  get relayReason(): string {
    return this.#port === undefined ? this.#absence : this.relayReasonOf(this.#lost);
  }

  /** VDP can be spoken: there is a link and an EVB peer on it. */
  get vdpUp(): boolean {
    return this.#port !== undefined && this.evb.remote !== undefined;
  }

  frame(frame: EthernetFrame, now: number): (Own | PassedOn)[] {
    return this.#port === undefined ? [] : this.fromPort(this.#port.frame(frame, now), now);
  }

  /** Goodbye: a shutdown LLDPDU, after which the peer forgets us at once. */
  shutdown(now: number): (Own | PassedOn)[] {
    return this.#port === undefined ? [] : this.fromPort(this.#port.shutdown(), now);
  }

  setLldpTiming(timing: LldpTiming, now: number): (Own | PassedOn)[] {
    this.options.lldp = timing;
    return this.#port === undefined ? [] : this.fromPort(this.#port.setLldpTiming(timing), now);
  }

  /** What follows from the remembered peer is in the first LLDPDU already. */
  protected bringUp(link: LinkUp, now: number): (Own | PassedOn)[] {
    const { mac, firstSequence, peer } = link;
    this.#lost = this.evbEnabled ? 'no EVB peer heard yet' : 'EVB is off on this link';
    this.#port = new Port({ ...this.options, mac, firstSequence, ecp: this.#ecpTiming() });
    this.#port.setEvbTlv(this.evbEnabled ? this.evb.tlv : undefined);
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
    return this.#port === undefined ? [] : this.fromPort(this.#port.advance(now), now);
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
          if (this.#port === undefined || !this.evbEnabled) return [];
          return this.fromPort(this.#port.setEvbTlv(this.evb.tlv), now);
        }
        if (effect.kind === 'operational') {
          this.#timers = vdpTimers(this.evb.operational);
          this.#port?.setEcpTiming(this.#ecpTiming());
          this.retime(this.#timers);
          return [];
        }
        return this.evbEffect(effect, now);
      },
    );
  }

  /** The link's status is told anew when what it says about relay has changed. */
  protected linkChanged(always = true): (Own | PassedOn)[] {
    const { relayReason } = this;
    if (!always && relayReason === this.#told) return [];
    this.#told = relayReason;
    return [LINK];
  }

  protected fromPort(effects: PortEffect[], now: number): (Own | PassedOn)[] {
    return effects.flatMap((effect): (Own | PassedOn)[] => {
      if (effect.kind === 'vdp') return this.evbEnabled ? this.vdp(effect.pdu, now) : [];
      if (effect.kind !== 'evb') return [effect];
      if (!this.evbEnabled) return [];
      const { tlv, reason } = effect;
      if (tlv === undefined) this.#lost = reason;
      const heard =
        tlv === undefined ? this.evb.lost(reason) : this.evb.receive(tlv, 'the peer has the same role');
      const done = this.fromEvb(heard, now);
      return [...done, ...this.heard(now), ...this.linkChanged(done.length > 0)];
    });
  }

  #ecpTiming() {
    return { maxRetries: this.evb.operational.r, ackTimer: this.timers.ackTimer };
  }
}

const LINK: PassedOn = { kind: 'link' };

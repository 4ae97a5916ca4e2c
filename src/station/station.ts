import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import { EvbStation, type EvbStationPolicy } from '../../protocols/evb/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  encodeVsi,
  filterProblem,
  invalidFormatAnswer,
  requestStatus,
  sameAttributes,
  tlvOf,
  type VdpPdu,
  type VdpTimers,
  type VsiCommand,
  type VsiStationEffect,
  vdpErrorName,
  vdpTimers,
  vsiKey,
} from '../../protocols/vdp/index.ts';
import { EvbError, type RelayState } from '../model.ts';
import { Port, type PortEffect, type PortOptions } from '../port/port.ts';
import { type Owner, StationVsi } from './vsi.ts';

export interface StationPolicy {
  /** false: LLDP only, no EVB TLV and no VDP. */
  evb: boolean;
  reflectiveRelay: 'request' | 'off' | 'assume';
  groupIds: boolean;
  proposal: EvbStationPolicy['proposal'];
  vsisPerLink: number;
}

/** Names the waiting call of a user; settled exactly once, unless the caller gave up before. */
export type Ticket = number;

export type StationEffect =
  | Exclude<PortEffect, { kind: 'evb' | 'vdp' }>
  /** Something that a VSI shows has changed; `removed`: it is forgotten. */
  | { kind: 'vsi'; vsi: StationVsi; removed: boolean }
  /** What is to be durable of a VSI has changed: wanted, confirmed, or no longer either. */
  | { kind: 'durable'; vsi: StationVsi }
  | { kind: 'settled'; ticket: Ticket; vsi: StationVsi; error?: EvbError }
  /** Relay, peer or timers: the link's status has changed. */
  | { kind: 'link' };

/** VSIs that ended in `failed` and are shown for a while; the oldest is forgotten first. */
const FAILED_MAX = 64;
/** Pause before a VSI that got no answer, or that the bridge threw out, is asked for again: doubled each time. */
const RETRY_FIRST = 1_000;
const RETRY_LAST = 60_000;

/**
 * An uplink: LLDP, EVB, ECP and VDP of one interface in the station role, and the VSIs that are wanted on it. Without sockets
 * and clocks: every method takes `now` (milliseconds, monotonic) and returns what is to be done.
 */
export class Station {
  readonly vsis = new Map<string, StationVsi>();
  relayReason = 'link down';
  #policy: StationPolicy;
  readonly #evb: EvbStation;
  readonly #options: Omit<PortOptions, 'mac' | 'firstSequence' | 'ecp'>;
  #port: Port | undefined;
  #timers: VdpTimers;
  #heardSince = Number.POSITIVE_INFINITY;

  constructor(policy: StationPolicy, options: Omit<PortOptions, 'mac' | 'firstSequence' | 'ecp'>) {
    this.#policy = policy;
    this.#options = options;
    this.#evb = new EvbStation(evbPolicy(policy));
    this.#timers = vdpTimers(this.#evb.operational);
  }

  get port(): Port | undefined {
    return this.#port;
  }

  get evb(): EvbStation {
    return this.#evb;
  }

  get timers(): VdpTimers {
    return this.#timers;
  }

  get relay(): RelayState {
    if (this.#policy.reflectiveRelay === 'assume') return 'assumed';
    if (this.#policy.reflectiveRelay === 'off' || !this.#policy.evb) return 'off';
    if (this.#evb.relayActive) return 'active';
    if (this.#evb.remote === undefined) return 'no-peer';
    return this.#evb.remote.bridgeStatus.rrcap ? 'requested' : 'refused';
  }

  /** The interface is there and has carrier. `firstSequence` 1..65535, random. */
  linkUp(mac: MacAddress, firstSequence: number, now: number): StationEffect[] {
    const { r } = this.#evb.operational;
    const ecp = { maxRetries: r, ackTimer: this.#timers.ackTimer };
    this.#port = new Port({ ...this.#options, mac, firstSequence, ecp });
    this.relayReason = this.#policy.evb ? 'no EVB peer heard yet' : 'EVB is off on this link';
    const effects: PortEffect[] = [];
    if (this.#policy.evb) effects.push(...this.#port.setEvbTlv(this.#evb.tlv));
    effects.push(...this.#port.setEnabled(true, now));
    return [...this.#fromPort(effects, now), ...this.#showWaiting(now), { kind: 'link' }];
  }

  linkDown(reason: string, now: number): StationEffect[] {
    const effects = this.#port === undefined ? [] : this.#fromPort(this.#port.setEnabled(false, now), now);
    this.#port = undefined;
    this.relayReason = reason;
    return [...effects, ...this.#showWaiting(now), { kind: 'link' }];
  }

  frame(frame: EthernetFrame, now: number): StationEffect[] {
    if (this.#port === undefined) return [];
    return this.#fromPort(this.#port.frame(frame, now), now);
  }

  advance(now: number): StationEffect[] {
    const effects: StationEffect[] = [];
    for (const vsi of [...this.vsis.values()]) {
      if (now >= vsi.machine.nextDeadline())
        effects.push(...this.#fromMachine(vsi, vsi.machine.advance(now), now));
      if (now >= vsi.retryAt && this.#vdpUp) effects.push(...this.#ask(vsi, now));
    }
    if (this.#port !== undefined) effects.push(...this.#fromPort(this.#port.advance(now), now));
    return effects;
  }

  nextDeadline(): number {
    let deadline = this.#port?.nextDeadline() ?? Number.POSITIVE_INFINITY;
    for (const { machine, retryAt } of this.vsis.values()) {
      deadline = Math.min(deadline, machine.nextDeadline(), this.#vdpUp ? retryAt : Number.POSITIVE_INFINITY);
    }
    return deadline;
  }

  /** Why a request cannot be taken at all; undefined when it can. To be asked before anything is made durable. */
  objection(command: VsiCommand, owner: Owner): EvbError | undefined {
    if (!this.#policy.evb)
      return new EvbError('NotReady', 'EVB is off on this link (evb: false in the configuration)');
    const problem = filterProblem(command.filters, this.#policy.groupIds);
    if (problem !== undefined) return new EvbError('InvalidArgument', problem);
    const key = vsiKey(command);
    const known = this.vsis.get(key);
    if (known !== undefined && known.wanted !== undefined && known.owner !== owner) {
      return new EvbError('Conflict', `VSI ${known.id} is owned by ${known.owner}`);
    }
    for (const other of this.vsis.values()) {
      if (other.key === key || other.wanted === undefined) continue;
      const shared = command.filters.find((filter) =>
        other.wanted!.filters.some((theirs) => samePair(filter, theirs)),
      );
      if (shared === undefined) continue;
      const pair = `${shared.mac === undefined ? '' : `${shared.mac}/`}${shared.vid}`;
      return new EvbError(
        'Conflict',
        `${pair} belongs to VSI ${other.id} already; deassociate that one first`,
      );
    }
    if (known === undefined && this.vsis.size >= this.#policy.vsisPerLink) {
      const limit = `${this.#policy.vsisPerLink} VSIs on this link already (limits: vsis-per-link)`;
      return new EvbError('NotReady', limit);
    }
    return undefined;
  }

  /** What `vsi` shall be from now on. Settles at once when it holds already. The caller has asked objection(). */
  want(
    command: VsiCommand,
    owner: Owner,
    profile: string,
    ticket: Ticket | undefined,
    now: number,
  ): StationEffect[] {
    const key = vsiKey(command);
    let vsi = this.vsis.get(key);
    if (vsi === undefined) {
      vsi = new StationVsi(key, command, owner, this.#timers);
      this.vsis.set(key, vsi);
    }
    const superseded = vsi.asks(command)
      ? []
      : this.#settle(vsi, new EvbError('Conflict', `VSI ${vsi.id}: another request came meanwhile`));
    vsi.owner = owner;
    vsi.profile = profile;
    vsi.wanted = command;
    const inForce = vsi.machine.operCmd;
    const settledAlready =
      vsi.machine.sysCmd === undefined &&
      inForce !== undefined &&
      inForce.request === command.request &&
      sameAttributes(command, inForce);
    if (settledAlready)
      return ticket === undefined ? superseded : [...superseded, { kind: 'settled', ticket, vsi }];
    if (ticket !== undefined) vsi.tickets.push(ticket);
    vsi.attempts = 0;
    return [...superseded, ...this.#ask(vsi, now), ...this.#show(vsi, this.#waitingReason(), now)];
  }

  /** The VSI shall end; settles when the bridge has answered, at once when it holds nothing. */
  unwant(key: string, ticket: Ticket | undefined, now: number): StationEffect[] {
    const vsi = this.vsis.get(key);
    if (vsi === undefined) return [];
    const superseded = this.#settle(
      vsi,
      new EvbError('Conflict', `VSI ${vsi.id} was deassociated meanwhile`),
    );
    vsi.wanted = undefined;
    vsi.retryAt = Number.POSITIVE_INFINITY;
    if (ticket !== undefined) vsi.tickets.push(ticket);
    if (!this.#vdpUp) {
      // Nobody is there to be told; a bridge that lost us has released it, or will at its toutKeepAlive.
      return [...superseded, ...this.#forget(vsi, 'deassociated; no bridge was there to be told', now)];
    }
    const command: VsiCommand = { ...vsi.command, request: 'deassociate', hint: 'none' };
    const asked = this.#fromMachine(vsi, vsi.machine.command(command, now), now);
    return [...superseded, ...asked, ...this.#show(vsi, 'asked to deassociate', now), ...this.#flush(now)];
  }

  /** Continues what an earlier run left: wanted, and confirmed by the bridge when `inForce` is given. */
  resume(
    command: VsiCommand,
    inForce: VsiCommand | undefined,
    owner: Owner,
    profile: string,
    now: number,
  ): void {
    const key = vsiKey(command);
    const vsi = new StationVsi(key, command, owner, this.#timers);
    vsi.profile = profile;
    vsi.wanted = command;
    if (inForce !== undefined) vsi.machine.resume(inForce, now);
    else vsi.retryAt = now;
    vsi.show('taken over from the run before', now);
    this.vsis.set(key, vsi);
  }

  resumePeer(lldpdu: Uint8Array, source: MacAddress, expires: number, now: number): StationEffect[] {
    if (this.#port === undefined) return [];
    return this.#fromPort(this.#port.resumePeer(lldpdu, source, expires, now), now);
  }

  /** Goodbye: shutdown LLDPDU. The VSIs are deassociated by their owner beforehand. */
  shutdown(now: number): StationEffect[] {
    if (this.#port === undefined) return [];
    return this.#fromPort(this.#port.shutdown(), now);
  }

  setPolicy(policy: StationPolicy, now: number): StationEffect[] {
    this.#policy = policy;
    return [...this.#fromEvb(this.#evb.setPolicy(evbPolicy(policy)), now), { kind: 'link' }];
  }

  get #vdpUp(): boolean {
    return this.#port !== undefined && this.#evb.remote !== undefined;
  }

  #waitingReason(): string {
    if (this.#port === undefined) return `waiting: ${this.relayReason}`;
    return this.#vdpUp ? 'asked the bridge' : 'waiting for an EVB bridge on this link';
  }

  /** What the VSIs that are not being asked for wait for. */
  #showWaiting(now: number): StationEffect[] {
    const waiting = [...this.vsis.values()].filter(
      ({ wanted, machine }) => wanted && machine.state === 'INIT',
    );
    return waiting.flatMap((vsi) => this.#show(vsi, this.#waitingReason(), now));
  }

  #ask(vsi: StationVsi, now: number): StationEffect[] {
    vsi.retryAt = Number.POSITIVE_INFINITY;
    if (vsi.wanted === undefined) return [];
    if (!this.#vdpUp) {
      if (vsi.machine.state === 'INIT') vsi.retryAt = now;
      return [];
    }
    if (!this.#evb.groupIds && vsi.wanted.filters.some(({ group }) => group !== undefined)) {
      const reason = 'the bridge and this link have not agreed on group ids';
      return this.#fail(vsi, reason, new EvbError('NotReady', `VSI ${vsi.id}: ${reason}`), now);
    }
    return [
      ...this.#fromMachine(vsi, vsi.machine.command(vsi.wanted, now), now),
      ...this.#show(vsi, this.#waitingReason(), now),
      ...this.#flush(now),
    ];
  }

  #flush(now: number): StationEffect[] {
    return this.#vdpUp ? this.#fromPort(this.#port!.flush(now), now) : [];
  }

  #fromPort(effects: PortEffect[], now: number): StationEffect[] {
    return effects.flatMap((effect): StationEffect[] => {
      if (effect.kind === 'evb') return this.#evbHeard(effect.tlv, effect.reason, now);
      if (effect.kind === 'vdp') return this.#vdp(effect.pdu, now);
      return [effect];
    });
  }

  #evbHeard(tlv: Parameters<EvbStation['receive']>[0], reason: string, now: number): StationEffect[] {
    if (!this.#policy.evb) return [];
    const heard =
      tlv === undefined ? this.#evb.lost(reason) : this.#evb.receive(tlv, 'the peer is no EVB bridge');
    const effects = this.#fromEvb(heard, now);
    const relayReason = this.#relayReason(reason);
    if (effects.length > 0 || relayReason !== this.relayReason) effects.push({ kind: 'link' });
    this.relayReason = relayReason;
    return effects;
  }

  #relayReason(lost: string): string {
    const remote = this.#evb.remote;
    if (this.#policy.reflectiveRelay === 'assume') return 'the switch is configured by hand';
    if (this.#policy.reflectiveRelay === 'off') return 'relay is not requested (reflective-relay: off)';
    if (remote === undefined) return lost;
    if (remote.bridgeStatus.rrctr) return 'the bridge reflects';
    if (remote.bridgeStatus.rrcap) return 'requested, the bridge has not turned it on yet';
    return 'the bridge says it cannot reflect (no RRCAP)';
  }

  #fromEvb(effects: ReturnType<EvbStation['receive']>, now: number): StationEffect[] {
    return effects.flatMap((effect): StationEffect[] => {
      switch (effect.kind) {
        case 'localChange':
          return this.#port === undefined ? [] : this.#fromPort(this.#port.setEvbTlv(this.#evb.tlv), now);
        case 'operational':
          return this.#operational();
        case 'up':
          this.#heardSince = now;
          return this.#askAll(now);
        case 'down':
          this.#port?.outbox.clear();
          return this.#showWaiting(now);
        case 'peerRestarted':
          // Its ECP numbers begin anew, perhaps at the one that we heard last.
          this.#port?.forgetSequence();
          return now > this.#heardSince ? this.#askAll(now) : [];
        default:
          return [];
      }
    });
  }

  #operational(): StationEffect[] {
    this.#timers = vdpTimers(this.#evb.operational);
    this.#port?.setEcpTiming({ maxRetries: this.#evb.operational.r, ackTimer: this.#timers.ackTimer });
    for (const { machine } of this.vsis.values()) machine.timers = this.#timers;
    return [];
  }

  /** The bridge is there (again), or came back without its state: ask for all that is wanted, confirm all that is in force. */
  #askAll(now: number): StationEffect[] {
    const effects: StationEffect[] = [];
    for (const vsi of this.vsis.values()) {
      vsi.attempts = 0;
      if (vsi.machine.state === 'INIT') effects.push(...this.#ask(vsi, now));
      else effects.push(...this.#fromMachine(vsi, vsi.machine.refresh(now), now));
    }
    return [...effects, ...this.#flush(now)];
  }

  #vdp(pdu: VdpPdu, now: number): StationEffect[] {
    const effects: StationEffect[] = [];
    const unreadable = pdu.invalid.flatMap((invalid) => invalidFormatAnswer(invalid) ?? []);
    for (const tlv of [...pdu.vsis, ...unreadable]) {
      // An answer for a VSI that we do not know, or a late DeAssociate, is nobody's business here (interop-notes.md 10, row 3).
      const vsi = this.vsis.get(vsiKey(tlv));
      if (vsi !== undefined)
        effects.push(...this.#fromMachine(vsi, vsi.machine.receive(tlv, pdu.manager, now), now));
    }
    return [...effects, ...this.#flush(now)];
  }

  #fromMachine(vsi: StationVsi, effects: VsiStationEffect[], now: number): StationEffect[] {
    return effects.flatMap((effect) => this.#machineEffect(vsi, effect, now));
  }

  #machineEffect(vsi: StationVsi, effect: VsiStationEffect, now: number): StationEffect[] {
    switch (effect.kind) {
      case 'send': {
        const { command } = effect;
        const status = requestStatus(command);
        // Without a bridge the machines' timers run on; all is asked again when one is heard.
        if (this.#vdpUp) this.#port!.outbox.put(vsi.key, command.manager, encodeVsi(tlvOf(command, status)));
        return [];
      }
      case 'confirmed': {
        vsi.attempts = 0;
        const shown = this.#show(vsi, effect.reason, now);
        if (effect.keepalive) return shown;
        return [...shown, { kind: 'durable', vsi }, ...(vsi.asks(effect.command) ? this.#settle(vsi) : [])];
      }
      case 'kept': {
        // The user's new request failed; what is wanted is again what is in force.
        vsi.wanted = effect.command;
        const error = new EvbError('Refused', `VSI ${vsi.id}: ${effect.reason}`);
        return [
          ...this.#show(vsi, effect.reason, now),
          { kind: 'durable', vsi },
          ...this.#settle(vsi, error),
        ];
      }
      case 'ended':
        return this.#ended(vsi, effect, now);
    }
  }

  #ended(
    vsi: StationVsi,
    { end, reason, status }: VsiStationEffect & { kind: 'ended' },
    now: number,
  ): StationEffect[] {
    if (vsi.wanted === undefined) return this.#forget(vsi, reason, now);
    // The machine goes on with a newer command, or a DeAssociate was overtaken by one.
    if (vsi.machine.state !== 'INIT' || end === 'asked') return this.#show(vsi, reason, now);
    if (end === 'timeout' || end === 'bridge') {
      const pause = Math.min(RETRY_LAST, RETRY_FIRST * 2 ** vsi.attempts++);
      vsi.retryAt = now + pause;
      return [
        ...this.#show(vsi, `${reason}; asking again in ${pause / 1000} s`, now),
        { kind: 'durable', vsi },
      ];
    }
    const what = status !== undefined && status.error !== 0 ? vdpErrorName(status.error) : reason;
    const error = new EvbError(
      'Refused',
      `VSI ${vsi.id} refused: ${what}${status?.hard ? ' (hard error)' : ''}`,
    );
    return this.#fail(vsi, reason, error, now);
  }

  /** Given up for good: shown as failed, no longer wanted. */
  #fail(vsi: StationVsi, reason: string, error: EvbError, now: number): StationEffect[] {
    vsi.wanted = undefined;
    vsi.failed = true;
    const effects = [
      ...this.#show(vsi, reason, now),
      { kind: 'durable', vsi } as const,
      ...this.#settle(vsi, error),
    ];
    const failed = [...this.vsis.values()].filter((other) => other.failed);
    for (const oldest of failed.slice(0, Math.max(0, failed.length - FAILED_MAX))) {
      this.vsis.delete(oldest.key);
      effects.push({ kind: 'vsi', vsi: oldest, removed: true });
    }
    return effects;
  }

  #forget(vsi: StationVsi, reason: string, now: number): StationEffect[] {
    this.vsis.delete(vsi.key);
    vsi.end();
    vsi.show(reason, now);
    return [{ kind: 'vsi', vsi, removed: true }, { kind: 'durable', vsi }, ...this.#settle(vsi)];
  }

  #settle(vsi: StationVsi, error?: EvbError): StationEffect[] {
    const tickets = vsi.tickets;
    vsi.tickets = [];
    return tickets.map((ticket) =>
      error ? { kind: 'settled', ticket, vsi, error } : { kind: 'settled', ticket, vsi },
    );
  }

  #show(vsi: StationVsi, reason: string, now: number): StationEffect[] {
    return vsi.show(reason, now) ? [{ kind: 'vsi', vsi, removed: false }] : [];
  }
}

function evbPolicy(policy: StationPolicy): EvbStationPolicy {
  return {
    reflectiveRelay: policy.reflectiveRelay === 'request',
    groupIds: policy.groupIds,
    proposal: policy.proposal,
  };
}

function samePair(
  a: { mac?: string; vid: number; group?: number },
  b: { mac?: string; vid: number; group?: number },
): boolean {
  return a.mac === b.mac && a.vid === b.vid && a.group === b.group;
}

import type { EthernetFrame } from '../../protocols/ethernet/index.ts';
import { EvbBridge, type EvbBridgePolicy } from '../../protocols/evb/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  commandOf,
  encodeInvalidFormat,
  encodeVsi,
  STATUS_ACK,
  tlvOf,
  VDP_INSUFFICIENT_RESOURCES,
  VDP_INVALID_FILTER,
  type VdpPdu,
  type VdpTimers,
  VsiBridge,
  type VsiBridgeEffect,
  type VsiCommand,
  vdpTimers,
  vsiIdText,
  vsiKey,
} from '../../protocols/vdp/index.ts';
import type { RelayState, VsiState } from '../model.ts';
import { History } from '../port/history.ts';
import { Port, type PortEffect, type PortOptions } from '../port/port.ts';
import { type AdmissionPolicy, admit, profileOf } from './admission.ts';

export interface BridgePolicy extends AdmissionPolicy {
  evb: boolean;
  reflectiveRelay: 'allow' | 'deny' | 'always';
  groupIds: boolean;
  proposal: EvbBridgePolicy['proposal'];
  vsisPerLink: number;
}

/** Names a change of the kernel that a VSI waits for. */
export type ChangeId = number;

export type BridgeEffect =
  | Exclude<PortEffect, { kind: 'evb' | 'vdp' }>
  /** Set the port's hairpin; relayApplied() tells that it is done. */
  | { kind: 'hairpin'; on: boolean; reason: string }
  /** Let these source addresses in, or no longer; kernelDone(id) tells the outcome. Without an id nobody waits. */
  | { kind: 'admit' | 'revoke'; macs: MacAddress[]; id?: ChangeId }
  | { kind: 'vsi'; vsi: BridgeVsi; removed: boolean }
  /** What is to be durable of a VSI has changed: `inForce`, or nothing any more. */
  | { kind: 'durable'; vsi: BridgeVsi; inForce: VsiCommand | undefined }
  | { kind: 'link' };

/** A VSI that the station has asked for. */
export class BridgeVsi {
  readonly key: string;
  readonly machine: VsiBridge;
  readonly history = new History();
  profile = '';
  command: VsiCommand;
  /** What the resource layer let in for the command being processed. */
  granted: { filters: VsiCommand['filters']; macs: MacAddress[] } | undefined;
  change: ChangeId | undefined;

  constructor(key: string, command: VsiCommand, timers: VdpTimers) {
    this.key = key;
    this.command = command;
    this.machine = new VsiBridge(timers);
  }

  get id(): string {
    return vsiIdText(this.command);
  }

  get state(): VsiState {
    const { machine } = this;
    if (machine.state === 'BRIDGE_PROCESSING') {
      const { request } = this.command;
      if (request === 'deassociate') return 'deassociating';
      return request === 'associate' ? 'associating' : 'preassociating';
    }
    if (machine.vsiState === 'Assoc') return 'associated';
    if (machine.vsiState === 'DeAssoc') return 'deassociated';
    return machine.vsiState === 'PreAssoc' ? 'preassociated' : 'reserved';
  }
}

/**
 * An emulated switch port: LLDP, EVB, ECP and VDP of one interface in the bridge role, and the VSIs of its station. Without
 * sockets and clocks: every method takes `now` (milliseconds, monotonic) and returns what is to be done.
 */
export class Bridge {
  readonly vsis = new Map<string, BridgeVsi>();
  relayReason = 'link down';
  /** TLVs of VSIs beyond the limit, and such that could not be read, both answered with an error. */
  readonly counters = { vsisRefused: 0, vsisInvalid: 0 };
  #policy: BridgePolicy;
  /** The port is in a Linux bridge, so that hairpin can be set. */
  #reflects = false;
  readonly #evb: EvbBridge;
  readonly #options: Omit<PortOptions, 'mac' | 'firstSequence' | 'ecp'>;
  #port: Port | undefined;
  #timers: VdpTimers;
  #stationMac: MacAddress | undefined;
  /** Who needs an address let in: keys of VSIs, and the station itself. */
  readonly #holders = new Map<MacAddress, Set<string>>();
  #nextChange = 1;
  /** Why there is no EVB peer. */
  #lost = 'no EVB peer heard yet';

  constructor(policy: BridgePolicy, options: Omit<PortOptions, 'mac' | 'firstSequence' | 'ecp'>) {
    this.#policy = policy;
    this.#options = options;
    this.#evb = new EvbBridge(this.#evbPolicy());
    this.#timers = vdpTimers(this.#evb.operational);
  }

  get port(): Port | undefined {
    return this.#port;
  }

  get evb(): EvbBridge {
    return this.#evb;
  }

  get timers(): VdpTimers {
    return this.#timers;
  }

  get relay(): RelayState {
    if (this.#policy.reflectiveRelay === 'always') return 'assumed';
    if (this.#policy.reflectiveRelay === 'deny' || !this.#policy.evb) return 'off';
    if (this.#evb.remote === undefined) return 'no-peer';
    if (this.#evb.relayActive) return 'active';
    if (!this.#reflects) return 'refused';
    return this.#evb.relayWanted ? 'requested' : 'off';
  }

  /** The interface is there and has carrier. `firstSequence` 1..65535, random. `reflects`: it is a port of a Linux bridge. */
  linkUp(mac: MacAddress, reflects: boolean, firstSequence: number, now: number): BridgeEffect[] {
    const ecp = { maxRetries: this.#evb.operational.r, ackTimer: this.#timers.ackTimer };
    this.#port = new Port({ ...this.#options, mac, firstSequence, ecp });
    this.#reflects = reflects;
    this.#lost = 'no EVB peer heard yet';
    this.relayReason = this.#reason(this.#lost);
    const effects = this.#fromEvb(this.#evb.setPolicy(this.#evbPolicy()), now);
    if (this.#policy.evb) effects.push(...this.#fromPort(this.#port.setEvbTlv(this.#evb.tlv), now));
    effects.push(...this.#fromPort(this.#port.setEnabled(true, now), now));
    return [...effects, { kind: 'link' }];
  }

  linkDown(reason: string, now: number): BridgeEffect[] {
    const effects = this.#port === undefined ? [] : this.#fromPort(this.#port.setEnabled(false, now), now);
    this.#port = undefined;
    this.relayReason = reason;
    return [...effects, ...this.#releaseAll(reason, now), { kind: 'link' }];
  }

  /** The port joined or left a Linux bridge. */
  setReflects(reflects: boolean, now: number): BridgeEffect[] {
    if (reflects === this.#reflects) return [];
    this.#reflects = reflects;
    const effects = this.#fromEvb(this.#evb.setPolicy(this.#evbPolicy()), now);
    this.relayReason = this.#reason(this.#lost);
    return [...effects, { kind: 'link' }];
  }

  frame(frame: EthernetFrame, now: number): BridgeEffect[] {
    if (this.#port === undefined) return [];
    return this.#fromPort(this.#port.frame(frame, now), now);
  }

  advance(now: number): BridgeEffect[] {
    const effects: BridgeEffect[] = [];
    for (const vsi of [...this.vsis.values()]) {
      if (now >= vsi.machine.nextDeadline())
        effects.push(...this.#fromMachine(vsi, vsi.machine.advance(now), now));
    }
    if (this.#port !== undefined) effects.push(...this.#fromPort(this.#port.advance(now), now));
    return effects;
  }

  nextDeadline(): number {
    let deadline = this.#port?.nextDeadline() ?? Number.POSITIVE_INFINITY;
    for (const { machine } of this.vsis.values()) deadline = Math.min(deadline, machine.nextDeadline());
    return deadline;
  }

  /** The port's hairpin is as the last `hairpin` effect asked, or could not be set: `problem` says why. */
  relayApplied(on: boolean, problem: string | undefined, now: number): BridgeEffect[] {
    const effects = this.#fromEvb(this.#evb.applied(on), now);
    this.relayReason = problem ?? this.#reason(this.#lost);
    return [...effects, { kind: 'link' }];
  }

  /** The outcome of an `admit` or `revoke` that a VSI waits for. */
  kernelDone(id: ChangeId, problem: string | undefined, now: number): BridgeEffect[] {
    const vsi = [...this.vsis.values()].find(({ change }) => change === id);
    if (vsi === undefined) return [];
    vsi.change = undefined;
    const granted = vsi.granted;
    const refused = problem !== undefined && vsi.command.request !== 'deassociate';
    const result = refused
      ? this.#refusal(vsi, VDP_INVALID_FILTER, false)
      : ({ outcome: 'success', filters: granted?.filters ?? vsi.command.filters } as const);
    const effects = this.#fromMachine(vsi, vsi.machine.resource(result, now), now);
    if (problem !== undefined && this.vsis.has(vsi.key)) vsi.history.note(vsi.state, problem, now);
    return [...effects, ...this.#flush(now)];
  }

  /** The bridge itself ends a VSI: an unsolicited DeAssociate. */
  remove(key: string, now: number): BridgeEffect[] {
    const vsi = this.vsis.get(key);
    if (vsi === undefined) return [];
    return [
      ...this.#fromMachine(vsi, vsi.machine.remove('removed by the bridge', now), now),
      ...this.#flush(now),
    ];
  }

  /** Continues what an earlier run left in force; its addresses are let in already. */
  resume(command: VsiCommand, now: number): void {
    const vsi = new BridgeVsi(vsiKey(command), command, this.#timers);
    vsi.profile = profileOf(command, this.#policy.profiles)?.name ?? '';
    vsi.machine.resume(command, now);
    if (command.request === 'associate') for (const mac of macsOf(command)) this.#hold(mac, vsi.key);
    vsi.history.note(vsi.state, 'taken over from the run before', now);
    this.vsis.set(vsi.key, vsi);
  }

  resumePeer(lldpdu: Uint8Array, source: MacAddress, expires: number, now: number): BridgeEffect[] {
    if (this.#port === undefined) return [];
    return this.#fromPort(this.#port.resumePeer(lldpdu, source, expires, now), now);
  }

  /** Every address that is to be let in at present: what a port that has just been locked needs. */
  get admitted(): MacAddress[] {
    return [...this.#holders.keys()];
  }

  /** Goodbye: every VSI gets an unsolicited DeAssociate, then a shutdown LLDPDU. */
  shutdown(now: number): BridgeEffect[] {
    const removed = [...this.vsis.keys()].flatMap((key) => this.remove(key, now));
    if (this.#port === undefined) return removed;
    return [...removed, ...this.#fromPort(this.#port.shutdown(), now)];
  }

  setPolicy(policy: BridgePolicy, now: number): BridgeEffect[] {
    this.#policy = policy;
    return [...this.#fromEvb(this.#evb.setPolicy(this.#evbPolicy()), now), { kind: 'link' }];
  }

  #evbPolicy(): EvbBridgePolicy {
    return {
      reflectiveRelay: this.#policy.reflectiveRelay === 'allow' && this.#reflects,
      always: this.#policy.reflectiveRelay === 'always',
      groupIds: this.#policy.groupIds,
      proposal: this.#policy.proposal,
    };
  }

  #reason(lost: string): string {
    if (!this.#policy.evb) return 'EVB is off on this port';
    if (this.#policy.reflectiveRelay === 'always') return 'the port reflects whatever is negotiated (always)';
    if (this.#policy.reflectiveRelay === 'deny') return 'relay is not allowed on this port (deny)';
    if (!this.#reflects) return 'the port is in no Linux bridge and cannot reflect';
    if (this.#evb.remote === undefined) return lost;
    if (!this.#evb.relayWanted) return 'the station does not request relay';
    return this.#evb.relayActive ? 'the station requests relay, hairpin is on' : 'the station requests relay';
  }

  #flush(now: number): BridgeEffect[] {
    return this.#port === undefined ? [] : this.#fromPort(this.#port.flush(now), now);
  }

  #fromPort(effects: PortEffect[], now: number): BridgeEffect[] {
    return effects.flatMap((effect): BridgeEffect[] => {
      if (effect.kind === 'evb') return this.#evbHeard(effect.tlv, effect.reason, now);
      if (effect.kind === 'vdp') return this.#vdp(effect.pdu, now);
      return [effect];
    });
  }

  #evbHeard(tlv: Parameters<EvbBridge['receive']>[0], reason: string, now: number): BridgeEffect[] {
    if (!this.#policy.evb) return [];
    const heard =
      tlv === undefined ? this.#evb.lost(reason) : this.#evb.receive(tlv, 'the peer is no EVB station');
    const effects = this.#fromEvb(heard, now);
    if (tlv === undefined) this.#lost = reason;
    const relayReason = this.#reason(this.#lost);
    if (effects.length > 0 || relayReason !== this.relayReason) effects.push({ kind: 'link' });
    this.relayReason = relayReason;
    if (this.#evb.remote !== undefined) effects.push(...this.#stationIs(this.#port?.peerMac));
    return effects;
  }

  #fromEvb(effects: ReturnType<EvbBridge['receive']>, now: number): BridgeEffect[] {
    return effects.flatMap((effect): BridgeEffect[] => {
      switch (effect.kind) {
        case 'localChange':
          return this.#port === undefined || !this.#policy.evb
            ? []
            : this.#fromPort(this.#port.setEvbTlv(this.#evb.tlv), now);
        case 'relay':
          return [{ kind: 'hairpin', on: effect.active, reason: effect.reason }];
        case 'operational':
          this.#operational();
          return [];
        case 'down':
          return [...this.#releaseAll(effect.reason, now), ...this.#stationIs(undefined)];
        default:
          return [];
      }
    });
  }

  #operational(): void {
    this.#timers = vdpTimers(this.#evb.operational);
    this.#port?.setEcpTiming({ maxRetries: this.#evb.operational.r, ackTimer: this.#timers.ackTimer });
    for (const { machine } of this.vsis.values()) machine.timers = this.#timers;
  }

  /** The station's own address is let in while it is the EVB peer. */
  #stationIs(mac: MacAddress | undefined): BridgeEffect[] {
    const before = this.#stationMac;
    if (mac === before) return [];
    this.#stationMac = mac;
    const effects: BridgeEffect[] = [];
    const revoked = before !== undefined && this.#letGo(before, STATION);
    if (mac !== undefined && this.#hold(mac, STATION)) effects.push(...this.#kernel('admit', [mac]));
    if (revoked) effects.push(...this.#kernel('revoke', [before]));
    return effects;
  }

  #releaseAll(reason: string, now: number): BridgeEffect[] {
    this.#port?.outbox.clear();
    return [...this.vsis.values()].flatMap((vsi) =>
      this.#fromMachine(vsi, vsi.machine.lost(reason, now), now),
    );
  }

  #vdp(pdu: VdpPdu, now: number): BridgeEffect[] {
    const effects: BridgeEffect[] = [];
    for (const tlv of pdu.vsis) {
      // What carries the ack bit is an answer, and nobody asked (vdp.md 3).
      if ((tlv.status & STATUS_ACK) !== 0) continue;
      const command = commandOf(tlv, pdu.manager);
      const vsi = this.vsis.get(vsiKey(command)) ?? this.#newVsi(command);
      if (vsi === undefined) {
        this.counters.vsisRefused++;
        this.#answer(
          vsiKey(command),
          pdu.manager,
          encodeVsi(tlvOf(command, STATUS_ACK | VDP_INSUFFICIENT_RESOURCES)),
        );
        continue;
      }
      if (vsi.machine.state !== 'BRIDGE_PROCESSING') vsi.command = command;
      effects.push(...this.#fromMachine(vsi, vsi.machine.request(command, now), now));
    }
    for (const [i, invalid] of pdu.invalid.entries()) {
      this.counters.vsisInvalid++;
      const answer = encodeInvalidFormat(invalid);
      if (answer !== undefined) this.#answer(`invalid ${i}`, pdu.manager, answer);
    }
    return [...effects, ...this.#flush(now)];
  }

  #newVsi(command: VsiCommand): BridgeVsi | undefined {
    if (this.vsis.size >= this.#policy.vsisPerLink && command.request !== 'deassociate') return undefined;
    const vsi = new BridgeVsi(vsiKey(command), command, this.#timers);
    this.vsis.set(vsi.key, vsi);
    return vsi;
  }

  #answer(key: string, manager: Uint8Array, tlv: Uint8Array): void {
    this.#port?.outbox.put(key, manager, tlv);
  }

  #fromMachine(vsi: BridgeVsi, effects: VsiBridgeEffect[], now: number): BridgeEffect[] {
    return effects.flatMap((effect) => this.#machineEffect(vsi, effect, now));
  }

  #machineEffect(vsi: BridgeVsi, effect: VsiBridgeEffect, now: number): BridgeEffect[] {
    switch (effect.kind) {
      case 'resource':
        vsi.command = effect.command;
        return [
          ...this.#show(vsi, `${effect.command.request} requested`, now),
          ...this.#decide(vsi, effect.command, now),
        ];
      case 'send':
        this.#answer(vsi.key, effect.manager, encodeVsi(effect.tlv));
        return [];
      case 'confirmed': {
        if (effect.keepalive) return [];
        vsi.granted = undefined;
        vsi.command = effect.command;
        const stale =
          effect.command.request === 'associate'
            ? this.#letGoOthers(vsi, effect.command)
            : this.#letGoAll(vsi);
        return [
          ...this.#kernel('revoke', stale),
          ...this.#show(vsi, effect.reason, now),
          { kind: 'durable', vsi, inForce: effect.command },
        ];
      }
      case 'kept':
        vsi.granted = undefined;
        vsi.command = effect.command;
        return [
          ...this.#kernel('revoke', this.#letGoOthers(vsi, effect.command)),
          ...this.#show(vsi, effect.reason, now),
        ];
      case 'ended': {
        vsi.granted = undefined;
        const shown = vsi.history.last !== undefined;
        const held = this.#letGoAll(vsi);
        // A request that came meanwhile goes on with the same machine.
        if (vsi.machine.state !== 'END') return this.#kernel('revoke', held);
        this.vsis.delete(vsi.key);
        vsi.history.note('deassociated', effect.reason, now);
        const gone: BridgeEffect[] = shown ? [{ kind: 'vsi', vsi, removed: true }] : [];
        return [...this.#kernel('revoke', held), ...gone, { kind: 'durable', vsi, inForce: undefined }];
      }
    }
  }

  /** The resource layer: admission, then the kernel where the port enforces. The answer waits for both. */
  #decide(vsi: BridgeVsi, command: VsiCommand, now: number): BridgeEffect[] {
    vsi.change = undefined;
    if (command.request === 'deassociate') {
      vsi.granted = undefined;
      return this.#whenDone(vsi, 'revoke', this.#letGoAll(vsi), now);
    }
    const admission = admit(command, this.#policy, this.#evb.groupIds);
    if (admission.outcome !== 'success') {
      const effects = this.#show(vsi, admission.reason, now);
      const refusal = this.#refusal(vsi, admission.error, admission.hard);
      return [...effects, ...this.#fromMachine(vsi, vsi.machine.resource(refusal, now), now)];
    }
    vsi.profile = profileOf(command, this.#policy.profiles)?.name ?? '';
    const macs = command.request === 'associate' ? macsOf(command) : [];
    vsi.granted = { filters: admission.filters, macs };
    return this.#whenDone(
      vsi,
      'admit',
      macs.filter((mac) => this.#hold(mac, vsi.key)),
      now,
    );
  }

  /** A VSI in force survives a refused change of it (Keep). */
  #refusal(vsi: BridgeVsi, error: number, hard: boolean) {
    return vsi.machine.vsiState === 'Assoc' && vsi.command.request === 'associate'
      ? ({ outcome: 'keep', error } as const)
      : ({ outcome: 'deassoc', error, hard } as const);
  }

  #whenDone(vsi: BridgeVsi, kind: 'admit' | 'revoke', macs: MacAddress[], now: number): BridgeEffect[] {
    if (!this.#policy.enforce || macs.length === 0) {
      const filters = vsi.granted?.filters ?? vsi.command.filters;
      return this.#fromMachine(vsi, vsi.machine.resource({ outcome: 'success', filters }, now), now);
    }
    vsi.change = this.#nextChange++;
    return [{ kind, macs, id: vsi.change }];
  }

  #kernel(kind: 'admit' | 'revoke', macs: MacAddress[]): BridgeEffect[] {
    return this.#policy.enforce && macs.length > 0 ? [{ kind, macs }] : [];
  }

  /** True when nobody held the address before. */
  #hold(mac: MacAddress, holder: string): boolean {
    const holders = this.#holders.get(mac);
    if (holders === undefined) this.#holders.set(mac, new Set([holder]));
    else holders.add(holder);
    return holders === undefined;
  }

  /** True when nobody holds the address any more. */
  #letGo(mac: MacAddress, holder: string): boolean {
    const holders = this.#holders.get(mac);
    if (!holders?.delete(holder) || holders.size > 0) return false;
    this.#holders.delete(mac);
    return true;
  }

  #letGoAll(vsi: BridgeVsi): MacAddress[] {
    return [...this.#holders.keys()].filter((mac) => this.#letGo(mac, vsi.key));
  }

  #letGoOthers(vsi: BridgeVsi, inForce: VsiCommand): MacAddress[] {
    const kept = new Set(macsOf(inForce));
    return [...this.#holders.keys()].filter((mac) => !kept.has(mac) && this.#letGo(mac, vsi.key));
  }

  #show(vsi: BridgeVsi, reason: string, now: number): BridgeEffect[] {
    return vsi.history.note(vsi.state, reason, now) ? [{ kind: 'vsi', vsi, removed: false }] : [];
  }
}

/** Holder of the station's own address; no VSI key looks like it. */
const STATION = 'station';

function macsOf(command: VsiCommand): MacAddress[] {
  return [...new Set(command.filters.flatMap(({ mac }) => (mac === undefined ? [] : [mac])))];
}

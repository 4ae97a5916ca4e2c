import {
  EvbBridge,
  type EvbBridgePolicy,
  EvbDraft,
  type EvbDraftPolicy,
  type EvbEffect,
} from '../../protocols/evb/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  commandOf,
  encodeInvalidFormat,
  lldpadVsiKey,
  STATUS_ACK,
  tlvOf,
  VDP_INSUFFICIENT_RESOURCES,
  VDP_INVALID_FILTER,
  VDP_OTHER_FAILURE,
  type VdpDialect,
  type VdpPdu,
  type VdpTimers,
  VsiBridge,
  type VsiBridgeEffect,
  type VsiCommand,
  vsiKey,
  vsiName,
} from '../../protocols/vdp/index.ts';
import type { DialectName, RelayState, VsiState } from '../model.ts';
import { History } from '../port/history.ts';
import { type LinkUp, type PassedOn, Role, type RoleOptions } from '../port/role.ts';
import type { PortShape, PortState } from '../port/shape.ts';
import { type AdmissionPolicy, admit, profileOf } from './admission.ts';

export interface BridgePolicy extends AdmissionPolicy {
  /** auto: the standard, until the peer shows the draft's only. */
  protocol: DialectName | 'auto';
  evb: boolean;
  reflectiveRelay: 'allow' | 'deny' | 'always';
  groupIds: boolean;
  proposal: EvbBridgePolicy['proposal'];
  vsisPerLink: number;
}

export type BridgeEffect = PassedOn | OwnEffect;

type OwnEffect =
  /** `shape` has changed; kernelIs() tells what came of it. */
  | { kind: 'shape' }
  | { kind: 'vsi'; vsi: BridgeVsi; removed: boolean }
  /** What is to be durable of a VSI has changed: `inForce`, or nothing any more. */
  | { kind: 'durable'; vsi: BridgeVsi; inForce: VsiCommand | undefined }
  /** A request of the station was refused. */
  | { kind: 'refused'; vsi: BridgeVsi; reason: string };

/** A VSI that the station has asked for. */
export class BridgeVsi {
  readonly key: string;
  readonly id: string;
  readonly machine: VsiBridge;
  readonly history = new History();
  profile = '';
  /** What is in force, or being decided about. */
  command: VsiCommand;
  /** Addresses that are held in the port for it. */
  readonly macs = new Set<MacAddress>();
  /** What the command being processed waits for: addresses let in, or for a DeAssociate out. */
  waitsFor: { macs: readonly MacAddress[]; filters: VsiCommand['filters'] } | undefined;

  constructor(key: string, id: string, command: VsiCommand, timers: VdpTimers, dialect: VdpDialect) {
    this.key = key;
    this.id = id;
    this.command = command;
    this.machine = new VsiBridge(timers, dialect);
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

/** An emulated switch port: EVB in the bridge role, the VSIs of its station, and what the kernel's port shall be for them. */
export class Bridge extends Role<OwnEffect, EvbBridge> {
  readonly vsis = new Map<string, BridgeVsi>();
  readonly ratified: EvbBridge;
  readonly draft: EvbDraft;
  /** VSI TLVs beyond the limit, and such that could not be read, both answered with an error. */
  readonly counters = { vsisRefused: 0, vsisInvalid: 0 };
  #policy: BridgePolicy;
  /** The port is in a Linux bridge, so that hairpin can be set. */
  #bridged = false;
  #kernel: PortState = NOTHING;
  /** Addresses that the kernel has let in, and that have had a holder ever since: no change under way takes them out. */
  readonly #admitted = new Set<MacAddress>();
  #stationMac: MacAddress | undefined;
  /** Who needs an address let in: keys of VSIs, and the station itself. */
  readonly #holders = new Map<MacAddress, Set<string>>();
  /** VSIs that wait for the kernel. */
  readonly #waiting = new Set<BridgeVsi>();
  /**
   * Keepalives that came before it was known whether the kernel lets their addresses in: after a start, or when another bridge is
   * joined.
   */
  readonly #unanswered = new Map<BridgeVsi, VsiCommand>();
  #unreadable = 0;

  constructor(policy: BridgePolicy, options: RoleOptions) {
    super('bridge', policy.protocol, options);
    this.#policy = policy;
    this.ratified = new EvbBridge(this.#evbPolicy());
    this.draft = new EvbDraft('bridge', this.#draftPolicy());
  }

  get relay(): RelayState {
    if (this.#policy.reflectiveRelay === 'always') return 'assumed';
    if (this.#policy.reflectiveRelay === 'deny' || !this.#policy.evb) return 'off';
    if (this.evb.remote === undefined) return 'no-peer';
    if (this.evb.relayActive) return 'active';
    if (!this.#bridged || this.#kernel.problem !== undefined) return 'refused';
    return this.evb.relayWanted ? 'requested' : 'off';
  }

  get shape(): PortShape {
    const { enforce } = this.#policy;
    return {
      hairpin: this.evb.relayWanted,
      locked: enforce,
      macs: enforce ? new Set(this.#holders.keys()) : new Set(),
    };
  }

  /**
   * Without a remembered peer the VSIs of an earlier run are over: nobody is known who would hold them. `hairpin`: what the
   * earlier run left on.
   */
  linkUp(link: LinkUp & { hairpin: boolean }, now: number): BridgeEffect[] {
    const heard = this.bringUp(link, now);
    const over =
      this.evb.remote === undefined ? this.#releaseAll('its station has not been heard since', now) : [];
    // The whole toutKeepAlive that the others have begins with what was negotiated, not with our own proposal.
    for (const { machine } of this.vsis.values()) if (machine.operCmd) machine.resume(machine.operCmd, now);
    const reflects = link.hairpin && this.evb.relayWanted;
    if (reflects) this.#kernel = { ...this.#kernel, hairpin: true };
    const applied = reflects ? this.#applied(true, now) : [];
    return [...heard, ...over, ...applied, ...this.begin(now), ...this.flush(now), { kind: 'shape' }];
  }

  linkDown(reason: string, now: number): BridgeEffect[] {
    return [...this.bringDown(reason, now), ...this.#releaseAll(reason, now), ...this.linkChanged()];
  }

  /** The port joined or left a Linux bridge. What it enforced there is not enforced any more. */
  setBridged(bridged: boolean, now: number): BridgeEffect[] {
    if (bridged === this.#bridged) return [];
    this.#bridged = bridged;
    // Whatever was set has gone with the membership.
    this.#kernel = NOTHING;
    this.#admitted.clear();
    const effects: BridgeEffect[] = [...this.#tellPolicy(now), ...this.#applied(false, now)];
    if (!bridged && this.#policy.enforce) {
      for (const key of [...this.vsis.keys()])
        effects.push(...this.remove(key, 'the port left its bridge', now));
    }
    return [...effects, ...this.linkChanged(), { kind: 'shape' }];
  }

  advance(now: number): BridgeEffect[] {
    const due = [...this.vsis.values()].filter(({ machine }) => now >= machine.nextDeadline());
    const effects = due.flatMap((vsi) => this.#fromMachine(vsi, vsi.machine.advance(now), now));
    return [...effects, ...this.advancePort(now)];
  }

  nextDeadline(): number {
    let deadline = this.portDeadline();
    for (const { machine } of this.vsis.values()) deadline = Math.min(deadline, machine.nextDeadline());
    return deadline;
  }

  /** What the kernel's port is after `shape` was carried out as far as possible. */
  kernelIs(state: PortState, now: number): BridgeEffect[] {
    this.#kernel = state;
    for (const mac of this.#holders.keys()) {
      if (state.macs.has(mac)) this.#admitted.add(mac);
      else this.#admitted.delete(mac);
    }
    const effects = this.#applied(state.hairpin && this.evb.relayWanted, now);
    const answered = [...this.#waiting].flatMap((vsi) => this.#goOn(vsi, now));
    const ended = this.#policy.enforce ? this.#endUnenforced(now) : [];
    const confirmed = [...this.#unanswered].flatMap(([vsi, keepalive]) => {
      if (!this.#isInForce(vsi)) return [];
      this.#unanswered.delete(vsi);
      return this.#fromMachine(vsi, vsi.machine.request(keepalive, now), now);
    });
    return [...effects, ...answered, ...ended, ...confirmed, ...this.linkChanged(false), ...this.flush(now)];
  }

  /** The bridge itself ends a VSI: an unsolicited DeAssociate. */
  remove(key: string, reason: string, now: number): BridgeEffect[] {
    const vsi = this.vsis.get(key);
    if (vsi === undefined) return [];
    return [...this.#fromMachine(vsi, vsi.machine.remove(reason, now), now), ...this.flush(now)];
  }

  /** Continues what an earlier run left in force; its addresses are let in already. */
  resume(command: VsiCommand, now: number): void {
    const vsi = this.#create(command);
    vsi.profile = profileOf(command, this.#policy.profiles)?.name ?? '';
    vsi.machine.resume(command, now);
    if (command.request === 'associate') this.#holdAlso(vsi, macsOf(command));
    vsi.history.note(vsi.state, 'taken over from the run before', now);
  }

  /** VSIs in force that the new policy would not admit are ended. */
  setPolicy(policy: BridgePolicy, now: number): BridgeEffect[] {
    const before = this.#policy;
    this.#policy = policy;
    const effects = this.#tellPolicy(now);
    const switched = before.evb === policy.evb ? [] : this.switchEvb(now);
    const spoken = this.setProtocol(policy.protocol, now);
    return [
      ...effects,
      ...switched,
      ...spoken,
      ...this.#admitAgain(now),
      ...this.linkChanged(),
      { kind: 'shape' },
    ];
  }

  protected override get evbEnabled(): boolean {
    return this.#policy.evb;
  }

  protected override evbEffect(effect: EvbEffect, now: number): BridgeEffect[] {
    switch (effect.kind) {
      case 'relay':
        return [{ kind: 'shape' }];
      case 'up':
        return this.#stationIs(this.port?.peerMac);
      case 'down':
        return [...this.#releaseAll(effect.reason, now), ...this.#stationIs(undefined)];
      default:
        return [];
    }
  }

  protected override dialectChanges(reason: string, now: number): BridgeEffect[] {
    return this.#releaseAll(reason, now);
  }

  protected override relayReasonOf(lost: string): string {
    if (!this.#policy.evb) return 'EVB is off on this port';
    if (this.#policy.reflectiveRelay === 'always') return 'the port reflects whatever is negotiated (always)';
    if (this.#policy.reflectiveRelay === 'deny') return 'relay is not allowed on this port (deny)';
    if (!this.#bridged) return 'the port is in no Linux bridge and cannot reflect';
    if (this.#kernel.problem !== undefined) return this.#kernel.problem;
    if (this.evb.remote === undefined) return lost;
    if (!this.evb.relayWanted) return 'the station does not request relay';
    return this.evb.relayActive
      ? 'the station requests relay, hairpin is on'
      : 'the station requests relay, hairpin is being set';
  }

  protected override vdp(pdu: VdpPdu, now: number): BridgeEffect[] {
    // Without an EVB station there is nobody whose VSIs these could be.
    if (this.evb.remote === undefined && this.options.ecpSource === 'peer') return [];
    const effects: BridgeEffect[] = [];
    for (const tlv of pdu.vsis) {
      // What carries the ack bit is an answer, and nobody asked (vdp.md 3).
      if ((tlv.status & STATUS_ACK) !== 0) continue;
      const command = commandOf(tlv, pdu.manager);
      const vsi = this.vsis.get(this.#keyOf(command)) ?? this.#newVsi(command);
      if (vsi === undefined) {
        this.counters.vsisRefused++;
        const refusal = tlvOf(command, STATUS_ACK | VDP_INSUFFICIENT_RESOURCES);
        this.port?.say(this.#keyOf(command), pdu.manager, refusal);
        continue;
      }
      const { request } = vsi.machine.operCmd ?? {};
      const keepsAlive = command.request === 'associate' && request === 'associate';
      if (keepsAlive && vsi.machine.state === 'WAIT_STATION_CMD' && !this.#isInForce(vsi)) {
        this.#unanswered.set(vsi, command);
        continue;
      }
      this.#unanswered.delete(vsi);
      effects.push(...this.#fromMachine(vsi, vsi.machine.request(command, now), now));
    }
    for (const invalid of pdu.invalid) {
      this.counters.vsisInvalid++;
      const answer = encodeInvalidFormat(invalid);
      if (answer !== undefined)
        this.port?.outbox.put(`unreadable ${this.#unreadable++}`, pdu.manager, answer);
    }
    return [...effects, ...this.flush(now)];
  }

  #evbPolicy(): EvbBridgePolicy {
    return {
      reflectiveRelay: this.#policy.reflectiveRelay === 'allow' && this.#bridged,
      always: this.#policy.reflectiveRelay === 'always',
      groupIds: this.#policy.groupIds,
      proposal: this.#policy.proposal,
    };
  }

  #draftPolicy(): EvbDraftPolicy {
    const { reflectiveRelay, always } = this.#evbPolicy();
    return { reflectiveRelay, always, rte: this.#policy.proposal.rte, vsis: this.#policy.vsisPerLink };
  }

  #tellPolicy(now: number): BridgeEffect[] {
    const ratified = this.ratified.setPolicy(this.#evbPolicy());
    return this.fromBoth(ratified, this.draft.setPolicy(this.#draftPolicy()), now);
  }

  /** The port reflects, or not. */
  #applied(reflecting: boolean, now: number): BridgeEffect[] {
    return this.fromBoth(this.ratified.applied(reflecting), this.draft.applied(reflecting), now);
  }

  #admitAgain(now: number): BridgeEffect[] {
    return [...this.vsis.values()].flatMap((vsi) => {
      const { operCmd } = vsi.machine;
      if (operCmd === undefined) return [];
      vsi.profile = profileOf(operCmd, this.#policy.profiles)?.name ?? '';
      const admission = admit(operCmd, this.#policy, this.evb.groupIds);
      if (admission.outcome === 'success') return [];
      return this.remove(vsi.key, `no longer admitted: ${admission.reason}`, now);
    });
  }

  /** What the kernel is known to let in, where it is to let in nobody else. */
  #isInForce(vsi: BridgeVsi): boolean {
    return !this.#policy.enforce || [...vsi.macs].every((mac) => this.#admitted.has(mac));
  }

  /** An association whose addresses the kernel does not let in (any more) is none. */
  #endUnenforced(now: number): BridgeEffect[] {
    const why = new Map<string, string>();
    if (this.#bridged) {
      for (const [mac, reason] of this.#kernel.refused) {
        for (const holder of this.#holders.get(mac) ?? []) why.set(holder, reason);
      }
    } else
      for (const key of this.vsis.keys()) why.set(key, 'the port is in no Linux bridge and cannot enforce');
    return [...why].flatMap(([key, reason]) => {
      const machine = this.vsis.get(key)?.machine;
      return machine?.state === 'WAIT_STATION_CMD' ? this.remove(key, reason, now) : [];
    });
  }

  /** The station's own address is let in while it is the EVB peer. */
  #stationIs(mac: MacAddress | undefined): BridgeEffect[] {
    if (mac === this.#stationMac) return [];
    if (this.#stationMac !== undefined) this.#letGo(this.#stationMac, STATION);
    this.#stationMac = mac;
    if (mac !== undefined) this.#hold(mac, STATION);
    return [{ kind: 'shape' }];
  }

  #releaseAll(reason: string, now: number): BridgeEffect[] {
    this.port?.outbox.clear();
    return [...this.vsis.values()].flatMap((vsi) =>
      this.#fromMachine(vsi, vsi.machine.lost(reason, now), now),
    );
  }

  #newVsi(command: VsiCommand): BridgeVsi | undefined {
    if (this.vsis.size >= this.#policy.vsisPerLink && command.request !== 'deassociate') return undefined;
    return this.#create(command);
  }

  #create(command: VsiCommand): BridgeVsi {
    const vsi = new BridgeVsi(
      this.#keyOf(command),
      this.#nameFor(command),
      command,
      this.timers,
      this.vdpDialect,
    );
    if (this.options.deassocAck) vsi.machine.unsolicited = STATUS_ACK;
    this.vsis.set(vsi.key, vsi);
    return vsi;
  }

  #keyOf(command: VsiCommand): string {
    return this.options.vsiKey === 'lldpad' ? lldpadVsiKey(command) : vsiKey(command);
  }

  /** The VSIID; of several VSIs that share it, the later ones have a number behind it. */
  #nameFor(command: VsiCommand): string {
    const name = vsiName(command);
    if (this.options.vsiKey !== 'lldpad') return name;
    const taken = new Set([...this.vsis.values()].map(({ id }) => id));
    let number = 1;
    while (taken.has(number === 1 ? name : `${name}+${number}`)) number++;
    return number === 1 ? name : `${name}+${number}`;
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
        this.port?.say(vsi.key, effect.manager, effect.tlv);
        return [];
      case 'confirmed':
        if (effect.keepalive) return [];
        this.#wait(vsi, undefined);
        vsi.command = effect.command;
        this.#holdOnly(vsi, effect.command.request === 'associate' ? macsOf(effect.command) : []);
        return [
          { kind: 'shape' },
          ...this.#show(vsi, effect.reason, now),
          { kind: 'durable', vsi, inForce: effect.command },
        ];
      case 'kept':
        this.#wait(vsi, undefined);
        vsi.command = effect.command;
        this.#holdOnly(vsi, macsOf(effect.command));
        return [{ kind: 'shape' }, ...this.#show(vsi, effect.reason, now)];
      case 'ended': {
        this.#wait(vsi, undefined);
        this.#unanswered.delete(vsi);
        this.#holdOnly(vsi, []);
        // A request that came meanwhile goes on with the same machine.
        if (vsi.machine.state !== 'END') return [{ kind: 'shape' }];
        this.vsis.delete(vsi.key);
        const shown = vsi.history.last !== undefined;
        vsi.history.note('deassociated', effect.reason, now);
        if (!shown) return [];
        return [
          { kind: 'shape' },
          { kind: 'vsi', vsi, removed: true },
          { kind: 'durable', vsi, inForce: undefined },
          ...this.countVsis(this.vsis.size, now),
        ];
      }
    }
  }

  /** The resource layer: admission, then the kernel where the port enforces. The answer waits for both. */
  #decide(vsi: BridgeVsi, command: VsiCommand, now: number): BridgeEffect[] {
    if (command.request === 'deassociate') {
      this.#wait(vsi, { macs: macsOf(command), filters: command.filters });
      this.#holdOnly(vsi, []);
    } else {
      const admission = admit(command, this.#policy, this.evb.groupIds);
      if (admission.outcome !== 'success')
        return this.#refuse(vsi, admission.error, admission.hard, admission.reason, now);
      vsi.profile = profileOf(command, this.#policy.profiles)?.name ?? '';
      const macs = command.request === 'associate' ? macsOf(command) : [];
      if (this.#holders.size + macs.length > MACS_PER_VSI * this.#policy.vsisPerLink) {
        const reason = `${this.#holders.size} addresses at this port already`;
        return this.#refuse(vsi, VDP_INSUFFICIENT_RESOURCES, false, reason, now);
      }
      this.#wait(vsi, { macs, filters: admission.filters });
      this.#holdAlso(vsi, macs);
    }
    return [{ kind: 'shape' }, ...this.#goOn(vsi, now)];
  }

  /** Answers the request of a VSI once the kernel is as it needs it. */
  #goOn(vsi: BridgeVsi, now: number): BridgeEffect[] {
    const { waitsFor } = vsi;
    if (waitsFor === undefined) return [];
    const { macs, filters } = waitsFor;
    if (this.#policy.enforce && this.#bridged) {
      if (vsi.command.request === 'deassociate') {
        if (macs.some((mac) => this.#kernel.macs.has(mac) && !this.#holders.has(mac))) return [];
      } else {
        const refused = macs.find((mac) => this.#kernel.refused.has(mac));
        if (refused !== undefined) {
          return this.#refuse(vsi, VDP_INVALID_FILTER, false, this.#kernel.refused.get(refused)!, now);
        }
        if (!macs.every((mac) => this.#admitted.has(mac))) return [];
      }
    } else if (this.#policy.enforce && vsi.command.request !== 'deassociate') {
      return this.#refuse(
        vsi,
        VDP_OTHER_FAILURE,
        false,
        'the port is in no Linux bridge and cannot enforce',
        now,
      );
    }
    this.#wait(vsi, undefined);
    return this.#fromMachine(vsi, vsi.machine.resource({ outcome: 'success', filters }, now), now);
  }

  /** A VSI in force survives a refused change of it (Keep). */
  #refuse(vsi: BridgeVsi, error: number, hard: boolean, reason: string, now: number): BridgeEffect[] {
    this.#wait(vsi, undefined);
    const keep = vsi.machine.vsiState === 'Assoc' && vsi.command.request === 'associate';
    const result = keep
      ? ({ outcome: 'keep', error } as const)
      : ({ outcome: 'deassoc', error, hard } as const);
    vsi.history.note(vsi.state, reason, now);
    return [
      { kind: 'refused', vsi, reason },
      ...this.#fromMachine(vsi, vsi.machine.resource(result, now), now),
    ];
  }

  #hold(mac: MacAddress, holder: string): void {
    const holders = this.#holders.get(mac);
    if (holders === undefined) this.#holders.set(mac, new Set([holder]));
    else holders.add(holder);
  }

  #letGo(mac: MacAddress, holder: string): void {
    const holders = this.#holders.get(mac);
    holders?.delete(holder);
    if (holders?.size !== 0) return;
    this.#holders.delete(mac);
    this.#admitted.delete(mac);
  }

  #holdAlso(vsi: BridgeVsi, macs: readonly MacAddress[]): void {
    for (const mac of macs) {
      vsi.macs.add(mac);
      this.#hold(mac, vsi.key);
    }
  }

  #holdOnly(vsi: BridgeVsi, macs: readonly MacAddress[]): void {
    for (const mac of vsi.macs) {
      if (macs.includes(mac)) continue;
      vsi.macs.delete(mac);
      this.#letGo(mac, vsi.key);
    }
  }

  #wait(vsi: BridgeVsi, waitsFor: BridgeVsi['waitsFor']): void {
    vsi.waitsFor = waitsFor;
    if (waitsFor === undefined) this.#waiting.delete(vsi);
    else this.#waiting.add(vsi);
  }

  #show(vsi: BridgeVsi, reason: string, now: number): BridgeEffect[] {
    const counted = this.countVsis(this.vsis.size, now);
    return vsi.history.note(vsi.state, reason, now)
      ? [{ kind: 'vsi', vsi, removed: false }, ...counted]
      : counted;
  }
}

/** Addresses that a port takes, for each VSI that it may have. */
const MACS_PER_VSI = 4;

/** A port of which nothing is known. */
const NOTHING: PortState = { hairpin: false, macs: new Set(), refused: new Map() };

/** Holder of the station's own address; no VSI key looks like it. */
const STATION = 'station';

function macsOf(command: VsiCommand): MacAddress[] {
  return [...new Set(command.filters.flatMap(({ mac }) => (mac === undefined ? [] : [mac])))];
}

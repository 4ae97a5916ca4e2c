import {
  EvbDraft,
  type EvbDraftPolicy,
  type EvbEffect,
  EvbStation,
  type EvbStationPolicy,
} from '../../protocols/evb/index.ts';
import {
  filterProblem,
  invalidFormatAnswer,
  requestStatus,
  tlvOf,
  type VdpPdu,
  type VsiCommand,
  type VsiStationEffect,
  vsiKey,
  vsiName,
  withAssignedVids,
} from '../../protocols/vdp/index.ts';
import { type DialectName, EvbError, type RelayState } from '../model.ts';
import { type LinkUp, type PassedOn, Role, type RoleOptions } from '../port/role.ts';
import { type PeerPolicy, Treatment } from './treatment.ts';
import { isRule, mayTakeOver, type Owner, outranks, StationVsi, samePair } from './vsi.ts';

export interface StationPolicy {
  /** auto: the standard, until the peer shows the draft's only. */
  protocol: DialectName | 'auto';
  /** false: LLDP only, no EVB TLV and no VDP. */
  evb: boolean;
  reflectiveRelay: 'request' | 'off' | 'assume';
  groupIds: boolean;
  proposal: EvbStationPolicy['proposal'];
  vsisPerLink: number;
  peer: PeerPolicy;
}

/** Names the waiting call of a user; settled exactly once, unless the caller gave up before. */
export type Ticket = number;

export type StationEffect = PassedOn | OwnEffect;

type OwnEffect =
  /** Something that a VSI shows has changed; `removed`: it is forgotten. */
  | { kind: 'vsi'; vsi: StationVsi; removed: boolean }
  /** What is to be durable of a VSI has changed: wanted, confirmed, or no longer either. */
  | { kind: 'durable'; vsi: StationVsi }
  | { kind: 'settled'; ticket: Ticket; vsi: StationVsi; error?: EvbError };

/** VSIs that ended in `failed` and are shown for a while; the oldest is forgotten first. */
const FAILED_MAX = 64;
/** Pause before a VSI that got no answer, or that the bridge threw out, is asked for again: doubled each time. */
const RETRY_FIRST = 1_000;
const RETRY_LAST = 60_000;
/** Answers in a row that neither grant nor refuse, after which the bridge is believed to mean it. */
const DOUBTS_MAX = 3;
/** Between two rounds of asking for every VSI, milliseconds. */
const ASK_ALL_PAUSE = 1_000;

/** An uplink: EVB in the station role, and the VSIs that are wanted on it. */
export class Station extends Role<OwnEffect, EvbStation> {
  readonly vsis = new Map<string, StationVsi>();
  readonly ratified: EvbStation;
  readonly draft: EvbDraft;
  #policy: StationPolicy;
  #heardSince = Number.POSITIVE_INFINITY;
  #askedAllAt = Number.NEGATIVE_INFINITY;
  #askAllAt = Number.POSITIVE_INFINITY;
  readonly #treatment: Treatment;

  constructor(policy: StationPolicy, options: RoleOptions) {
    super('station', policy.protocol, options);
    this.#policy = policy;
    this.#treatment = new Treatment(policy.peer);
    this.ratified = new EvbStation(this.#evbPolicy());
    this.draft = new EvbDraft('station', this.#draftPolicy());
  }

  get counters() {
    return this.#treatment.counters;
  }

  get relay(): RelayState {
    if (this.#policy.reflectiveRelay === 'assume') return 'assumed';
    if (this.#policy.reflectiveRelay === 'off' || !this.#policy.evb) return 'off';
    if (this.evb.relayActive) return 'active';
    if (this.evb.remote === undefined) return 'no-peer';
    return this.evb.relayPossible ? 'requested' : 'refused';
  }

  /** Also, where the bridge need not have been heard, with nobody yet (interop-notes.md 1). */
  override get vdpUp(): boolean {
    const nobody = this.port !== undefined && this.#policy.evb && this.evb.remote === undefined;
    return super.vdpUp || (nobody && !this.options.evbFirst);
  }

  linkUp(link: LinkUp, now: number): StationEffect[] {
    const effects = this.bringUp(link, now);
    this.#treatment.linkUp();
    this.port!.patient = this.#treatment.patient;
    this.port!.expectsAnswers = true;
    const begun = this.begin(now);
    const unheard = this.vdpUp && this.evb.remote === undefined ? this.#askAllSoon(now) : [];
    return [...effects, ...begun, ...unheard, ...this.flush(now), ...this.#showWaiting(now)];
  }

  linkDown(reason: string, now: number): StationEffect[] {
    return [...this.bringDown(reason, now), ...this.#showWaiting(now), ...this.linkChanged()];
  }

  advance(now: number): StationEffect[] {
    const all = this.vdpUp && now >= this.#askAllAt ? this.#askAll(now) : [];
    const effects = [...this.vsis.values()].flatMap((vsi) => {
      const { machine } = vsi;
      const moved = now >= machine.nextDeadline() ? this.#fromMachine(vsi, machine.advance(now), now) : [];
      return now >= vsi.retryAt && this.vdpUp ? [...moved, ...this.#ask(vsi, now)] : moved;
    });
    return [...all, ...effects, ...this.#repeat(now), ...this.advancePort(now)];
  }

  nextDeadline(): number {
    let deadline = Math.min(this.portDeadline(), this.vdpUp ? this.#askAllAt : Number.POSITIVE_INFINITY);
    for (const [key, { since }] of this.port?.unanswered ?? [])
      deadline = Math.min(deadline, this.#treatment.repeatAt(key, since));
    for (const { machine, retryAt } of this.vsis.values()) {
      deadline = Math.min(deadline, machine.nextDeadline(), this.vdpUp ? retryAt : Number.POSITIVE_INFINITY);
    }
    return deadline;
  }

  /** Why a request cannot be taken at all; undefined when it can. To be asked before anything is made durable. */
  objection(command: VsiCommand, owner: Owner): EvbError | undefined {
    if (!this.#policy.evb)
      return new EvbError('NotReady', 'EVB is off on this link (evb: false in the configuration)');
    const problem =
      filterProblem(command.filters, this.#policy.groupIds) ??
      (this.#policy.protocol === 'draft' ? this.vdpDialect.objection(command) : undefined);
    if (problem !== undefined) return new EvbError('InvalidArgument', problem);
    const key = vsiKey(command);
    const known = this.vsis.get(key);
    if (known?.wanted !== undefined && !mayTakeOver(owner, known.owner)) {
      return new EvbError('Conflict', `VSI ${known.id} is owned by ${known.owner}`);
    }
    for (const other of this.vsis.values()) {
      if (other.key === key || other.wanted === undefined || outranks(owner, other.owner)) continue;
      const shared = command.filters.find((filter) =>
        other.wanted!.filters.some((theirs) => samePair(filter, owner, theirs, other.owner)),
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
      vsi = new StationVsi(key, command, owner, this.timers, this.vdpDialect);
      this.vsis.set(key, vsi);
    }
    const error = this.vdpUp && vsi.machine.state !== 'INIT' ? this.#peerObjection(command) : undefined;
    if (error !== undefined) {
      // What is in force or under way goes on; the caller may have stored the new wish already.
      const told: StationEffect[] = ticket === undefined ? [] : [{ kind: 'settled', ticket, vsi, error }];
      return [{ kind: 'durable', vsi }, ...told];
    }
    const superseded = vsi.asks(command)
      ? []
      : this.#settle(vsi, new EvbError('Conflict', `VSI ${vsi.id}: another request came meanwhile`));
    const stepsBack = [...this.vsis.values()].filter(
      (other) =>
        other !== vsi &&
        outranks(owner, other.owner) &&
        other.wanted?.filters.some((theirs) =>
          command.filters.some((filter) => samePair(filter, owner, theirs, other.owner)),
        ),
    );
    superseded.push(...stepsBack.flatMap((other) => this.unwant(other.key, undefined, now)));
    const holds = vsi.machine.holds(command);
    const handedOver = holds && (vsi.owner !== owner || vsi.profile !== profile);
    vsi.owner = owner;
    vsi.profile = profile;
    vsi.wanted = command;
    if (ticket !== undefined) vsi.tickets.push(ticket);
    vsi.attempts = 0;
    const asked = holds ? [] : this.#ask(vsi, now);
    const shown = handedOver ? this.#show(vsi, `wanted by ${owner} from now on`, now) : [];
    return [...superseded, ...asked, ...shown, ...(vsi.machine.holds(command) ? this.#settle(vsi) : [])];
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
    if (!this.vdpUp) {
      // Nobody is there to be told; a bridge that lost us has released it, or will at its toutKeepAlive.
      return [...superseded, ...this.#forget(vsi, 'deassociated; no bridge was there to be told', now)];
    }
    const command: VsiCommand = { ...vsi.command, request: 'deassociate', hint: 'none' };
    const asked = this.#fromMachine(vsi, vsi.machine.command(command, now), now);
    const shown = this.vsis.has(key) ? this.#show(vsi, 'asked to deassociate', now) : [];
    return [...superseded, ...asked, ...shown, ...this.flush(now)];
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
    const vsi = new StationVsi(key, command, owner, this.timers, this.vdpDialect);
    vsi.profile = profile;
    vsi.wanted = command;
    if (inForce !== undefined) vsi.machine.resume(inForce, now);
    else vsi.retryAt = now;
    vsi.show('taken over from the run before', now);
    this.vsis.set(key, vsi);
  }

  setPolicy(policy: StationPolicy, now: number): StationEffect[] {
    const before = this.#policy;
    this.#policy = policy;
    this.#treatment.policy = policy.peer;
    const changed = this.#tellPolicy(now);
    const switched = before.evb === policy.evb ? [] : this.switchEvb(now);
    return [...changed, ...switched, ...this.setProtocol(policy.protocol, now), ...this.linkChanged()];
  }

  protected override get evbEnabled(): boolean {
    return this.#policy.evb;
  }

  protected override evbEffect(effect: EvbEffect, now: number): StationEffect[] {
    switch (effect.kind) {
      case 'up':
        this.#heardSince = now;
        return [...this.heard(now), ...this.#askAllSoon(now)];
      case 'down':
      case 'vdpDown':
        this.port?.outbox.clear();
        this.port?.unanswered.clear();
        return this.#showWaiting(now);
      case 'peerRestarted':
        // Its ECP numbers begin anew, perhaps at the one that we heard last.
        this.port?.forgetSequence();
        // It listens to nobody whom it has not heard, and to hear us from it is no news that would make us speak.
        return [...this.tellEvb(now), ...(now > this.#heardSince ? this.#askAllSoon(now) : [])];
      default:
        return [];
    }
  }

  protected override relayReasonOf(lost: string): string {
    if (this.#policy.reflectiveRelay === 'assume') return 'the switch is configured by hand';
    if (this.#policy.reflectiveRelay === 'off') return 'relay is not requested (reflective-relay: off)';
    if (this.evb.remote === undefined) return lost;
    if (this.evb.relayActive) return 'the bridge reflects';
    if (this.evb.relayPossible) return 'requested, the bridge has not turned it on yet';
    return 'the bridge says it cannot reflect (no RRCAP)';
  }

  #waitingReason(): string {
    if (this.port === undefined) return `waiting: ${this.relayReason}`;
    if (this.evb.remote !== undefined && !this.vdpUp) return 'waiting: the bridge offers no ECP and VDP';
    return this.vdpUp ? 'asked the bridge' : 'waiting for an EVB bridge on this link';
  }

  /** Why VSIs that are not being asked for wait, and that those in force are kept though nobody confirms them now. */
  #showWaiting(now: number): StationEffect[] {
    return [...this.vsis.values()].flatMap((vsi) => {
      if (vsi.wanted === undefined) return [];
      if (vsi.machine.state === 'INIT') return this.#show(vsi, this.#waitingReason(), now);
      if (this.vdpUp) return [];
      vsi.unconfirmed = true;
      return this.#show(vsi, `${this.relayReason}; kept until the bridge is back or does not answer`, now);
    });
  }

  #ask(vsi: StationVsi, now: number): StationEffect[] {
    vsi.retryAt = Number.POSITIVE_INFINITY;
    if (vsi.wanted === undefined) return [];
    if (!this.vdpUp) {
      if (vsi.machine.state === 'INIT') vsi.retryAt = now;
      return this.#show(vsi, this.#waitingReason(), now);
    }
    const error = this.#peerObjection(vsi.wanted);
    if (error !== undefined) return this.#unasked(vsi, error, now);
    const freeAt = this.#freeAt(vsi, now);
    if (freeAt !== undefined && vsi.machine.state === 'INIT') {
      vsi.retryAt = freeAt;
      const left = Math.ceil((freeAt - now) / 1000);
      return this.#show(
        vsi,
        `waiting until lldpad has forgotten the filters of before, ${left} s at most`,
        now,
      );
    }
    const reason =
      freeAt === undefined ? this.#waitingReason() : 'lldpad does not change filters: ended first';
    return [
      ...this.#fromMachine(vsi, vsi.machine.command(this.#next(vsi.wanted, freeAt), now), now),
      ...this.#show(vsi, reason, now),
      ...this.flush(now),
    ];
  }

  /** When what is wanted can be asked for, if not now (vdp.md 4.2). */
  #freeAt({ wanted, machine }: StationVsi, now: number): number | undefined {
    if (wanted === undefined) return undefined;
    const filters = withAssignedVids(wanted.filters, machine.operCmd?.filters ?? []);
    return this.#treatment.freeAt({ ...wanted, filters }, now);
  }

  /** What leads to `wanted`: that itself, or an end first. */
  #next(wanted: VsiCommand, freeAt: number | undefined): VsiCommand {
    return freeAt === undefined ? wanted : { ...wanted, request: 'deassociate', hint: 'none' };
  }

  /** Why this bridge cannot be asked for it. */
  #peerObjection(command: VsiCommand): EvbError | undefined {
    const grouped = command.filters.some(({ group }) => group !== undefined);
    const objection =
      this.vdpDialect.objection(command) ??
      (grouped && !this.evb.groupIds ? 'the bridge and this link have not agreed on group ids' : undefined);
    return objection === undefined
      ? undefined
      : new EvbError('NotReady', `VSI ${vsiName(command)}: ${objection}`);
  }

  /** At once, unless it was done within the last second: a bridge that comes and goes does not make us busy. */
  #askAllSoon(now: number): StationEffect[] {
    if (now >= this.#askedAllAt + ASK_ALL_PAUSE) return this.#askAll(now);
    this.#askAllAt = this.#askedAllAt + ASK_ALL_PAUSE;
    return [];
  }

  /** The bridge is there (again), or came back without its state: ask for all that is wanted, confirm all that is in force. */
  #askAll(now: number): StationEffect[] {
    this.#askedAllAt = now;
    this.#askAllAt = Number.POSITIVE_INFINITY;
    const effects: StationEffect[] = [];
    for (const vsi of this.vsis.values()) {
      vsi.attempts = 0;
      const error = this.#peerObjection(vsi.command);
      if (vsi.machine.state === 'INIT') effects.push(...this.#ask(vsi, now));
      else if (error !== undefined) {
        vsi.machine.reset();
        effects.push(...this.#unasked(vsi, error, now));
      } else {
        effects.push(...this.#fromMachine(vsi, vsi.machine.refresh(now), now), ...this.#askWanted(vsi, now));
      }
    }
    return [...effects, ...this.flush(now)];
  }

  /** What was wanted of a VSI in force while nobody was there to be asked. */
  #askWanted(vsi: StationVsi, now: number): StationEffect[] {
    const { wanted, machine } = vsi;
    if (wanted === undefined) return [];
    const error = this.#peerObjection(wanted);
    if (error === undefined)
      return this.#fromMachine(vsi, machine.command(this.#next(wanted, this.#freeAt(vsi, now)), now), now);
    // What is in force goes on.
    vsi.wanted = vsi.command;
    return [...this.#show(vsi, error.message, now), { kind: 'durable', vsi }, ...this.#settle(vsi, error)];
  }

  protected override vdp(pdu: VdpPdu, now: number): StationEffect[] {
    // Who is no EVB bridge, a peer in our own role above all, confirms nothing.
    if (!this.vdpUp) return [];
    const effects: StationEffect[] = [];
    const unreadable = pdu.invalid.flatMap((invalid) => invalidFormatAnswer(invalid) ?? []);
    for (const tlv of [...pdu.vsis, ...unreadable]) {
      // An answer for a VSI that we do not know, or a late DeAssociate, is nobody's business here (interop-notes.md 10, row 3).
      const vsi = this.vsis.get(vsiKey(tlv));
      const waited = vsi !== undefined && this.#freeAt(vsi, now) !== undefined;
      this.#treatment.told(tlv, pdu.manager, this.timers.toutKeepAlive, now);
      if (waited && this.#freeAt(vsi, now) === undefined) vsi.retryAt = now;
      if (vsi !== undefined)
        effects.push(...this.#fromMachine(vsi, vsi.machine.receive(tlv, pdu.manager, now), now));
      effects.push(...this.#answered(vsiKey(tlv)));
    }
    return [...effects, ...this.flush(now)];
  }

  /** Who the bridge is decides how it is treated. */
  protected override heard(now: number): StationEffect[] {
    const news = this.#treatment.heard(this.ratified.remote, this.ratified.tlv);
    if (this.port !== undefined) this.port.patient = this.#treatment.patient;
    const asked = this.#askObjectless(now);
    if (!news) return asked;
    const told = [...asked, ...this.#tellPolicy(now)];
    if (!this.#treatment.isLldpad) return told;
    const { rte } = this.#evbPolicy().proposal;
    const text = `the bridge is lldpad: one request at a time, ack timer exponent ${rte}`;
    return [...told, { kind: 'notice', text }];
  }

  /** What waited because the bridge could not be asked for it, and can be now: group ids are agreed. */
  #askObjectless(now: number): StationEffect[] {
    if (!this.vdpUp) return [];
    return [...this.vsis.values()].flatMap((vsi) => {
      const waits = vsi.machine.state === 'INIT' && !Number.isFinite(vsi.retryAt);
      if (!waits || vsi.wanted === undefined || this.#peerObjection(vsi.wanted) !== undefined) return [];
      return this.#ask(vsi, now);
    });
  }

  #tellPolicy(now: number): StationEffect[] {
    const ratified = this.ratified.setPolicy(this.#evbPolicy());
    return this.fromBoth(ratified, this.draft.setPolicy(this.#draftPolicy()), now);
  }

  #draftPolicy(): EvbDraftPolicy {
    const { reflectiveRelay, proposal, vsisPerLink } = this.#policy;
    return {
      reflectiveRelay: reflectiveRelay === 'request',
      always: false,
      rte: proposal.rte,
      vsis: vsisPerLink,
    };
  }

  #evbPolicy(): EvbStationPolicy {
    const { reflectiveRelay, groupIds } = this.#policy;
    const proposal = this.#treatment.proposal(this.#policy.proposal);
    return { reflectiveRelay: reflectiveRelay === 'request', groupIds, proposal };
  }

  /** What was not answered, or not even acknowledged, is asked again, long before respWaitDelay (interop-notes.md 10, row 5). */
  #repeat(now: number): StationEffect[] {
    const { port } = this;
    if (port === undefined) return [];
    for (const [key, { since, delivered }] of port.unanswered) {
      if (now < this.#treatment.repeatAt(key, since)) continue;
      port.unanswered.delete(key);
      const asked = this.vsis.get(key)?.machine.awaiting;
      if (!this.#treatment.repeats(key, asked !== undefined, delivered)) continue;
      this.#say(key, asked!, now);
    }
    return this.flush(now);
  }

  #say(key: string, command: VsiCommand, now: number): void {
    this.#treatment.asks(command, this.timers.toutKeepAlive, now);
    this.port!.say(key, command.manager, tlvOf(command, requestStatus(command)));
  }

  #answered(key: string): StationEffect[] {
    const { port } = this;
    if (port === undefined) return [];
    port.answered(key);
    const loses = this.#treatment.answered(key);
    port.patient = this.#treatment.patient;
    if (!loses) return [];
    const text = 'the bridge loses requests that come together: asked one after the other from now on';
    return [{ kind: 'notice', text }];
  }

  #fromMachine(vsi: StationVsi, effects: VsiStationEffect[], now: number): StationEffect[] {
    // What ended first had been overtaken by a DeAssociate that waited, which then found nothing to end.
    const last = effects.findLast(({ kind }) => kind === 'ended');
    return effects.flatMap((effect) =>
      effect.kind === 'ended' && effect !== last
        ? this.#show(vsi, effect.reason, now)
        : this.#machineEffect(vsi, effect, now),
    );
  }

  #machineEffect(vsi: StationVsi, effect: VsiStationEffect, now: number): StationEffect[] {
    switch (effect.kind) {
      case 'send': {
        // Without a bridge the machines' timers run on; all is asked again when one is heard.
        if (this.vdpUp) this.#say(vsi.key, effect.command, now);
        return [];
      }
      case 'confirmed': {
        if (effect.keepalive) {
          vsi.attempts = 0;
          if (!vsi.unconfirmed) return [];
          vsi.unconfirmed = false;
          return this.#show(vsi, 'confirmed by the bridge again', now);
        }
        vsi.unconfirmed = false;
        return [
          ...this.#show(vsi, effect.reason, now),
          { kind: 'durable', vsi },
          ...(vsi.asks(effect.command) ? this.#settle(vsi) : []),
        ];
      }
      case 'kept': {
        if (vsi.machine.state !== 'WAIT_SYSTEM_CMD') return this.#show(vsi, effect.reason, now);
        // The user's new request failed; what is wanted is again what is in force.
        vsi.wanted = effect.command;
        vsi.unconfirmed = false;
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
    if (vsi.machine.state !== 'INIT') return this.#show(vsi, reason, now);
    if (end === 'asked') {
      vsi.retryAt = now;
      return this.#show(vsi, reason, now);
    }
    // The answer to something else may be a late one, a DeAssociate without an error may have crossed our request.
    const doubtful = end === 'mismatch' || status === undefined || status.error === 0;
    // A rule goes on wanting what was refused, unless the bridge says that asking again is of no use.
    const ruled = isRule(vsi.owner) && status?.hard !== true;
    if (end === 'timeout' || end === 'bridge' || ruled || (doubtful && vsi.attempts < DOUBTS_MAX)) {
      const pause = Math.min(RETRY_LAST, RETRY_FIRST * 2 ** vsi.attempts++);
      vsi.retryAt = now + pause;
      return [
        ...this.#show(vsi, `${reason}; asking again in ${pause / 1000} s`, now),
        { kind: 'durable', vsi },
      ];
    }
    const what =
      status !== undefined && status.error !== 0 ? this.vdpDialect.errorName(status.error) : reason;
    const error = new EvbError(
      'Refused',
      `VSI ${vsi.id} refused: ${what}${status?.hard ? ' (hard error)' : ''}`,
    );
    return this.#fail(vsi, reason, error, now);
  }

  /** This bridge cannot be asked for it. Where nobody waits to hear that, it stays wanted: another may come, or the same speak otherwise. */
  #unasked(vsi: StationVsi, error: EvbError, now: number): StationEffect[] {
    if (vsi.tickets.length > 0) return this.#fail(vsi, error.message, error, now);
    return [...this.#show(vsi, `waiting: ${error.message}`, now), { kind: 'durable', vsi }];
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
    this.#treatment.forget(vsi.key);
    vsi.end();
    vsi.show(reason, now);
    return [
      { kind: 'vsi', vsi, removed: true },
      { kind: 'durable', vsi },
      ...this.#settle(vsi),
      ...this.countVsis(this.vsis.size, now),
    ];
  }

  #settle(vsi: StationVsi, error?: EvbError): StationEffect[] {
    const tickets = vsi.tickets;
    vsi.tickets = [];
    return tickets.map((ticket) =>
      error ? { kind: 'settled', ticket, vsi, error } : { kind: 'settled', ticket, vsi },
    );
  }

  #show(vsi: StationVsi, reason: string, now: number): StationEffect[] {
    const counted = this.countVsis(this.vsis.size, now);
    return vsi.show(reason, now) ? [{ kind: 'vsi', vsi, removed: false }, ...counted] : counted;
  }
}

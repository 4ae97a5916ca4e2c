import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { CAPABILITY_STATION_ONLY } from '../../protocols/lldp-codec/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import type { VdpRequest, VsiCommand } from '../../protocols/vdp/index.ts';
import { VSIID_UUID, vsiKey } from '../../protocols/vdp/index.ts';
import type { UplinkConfig } from '../config/config.ts';
import type { Slave, SwitchedSlave } from '../kernel/slave-watch.ts';
import { TokenBucket } from '../link/token-bucket.ts';
import { EvbError, type ProbeReport, type SlaveStatus, type VsiRequest, type VsiStatus } from '../model.ts';
import type { LinkUp } from '../port/role.ts';
import {
  Association,
  type Rule,
  type RuledSlave,
  type RuledVsi,
  type Verdict,
} from '../station/association.ts';
import { Fallback } from '../station/fallback.ts';
import { Station, type StationEffect, type StationPolicy } from '../station/station.ts';
import { isRule, type StationVsi } from '../station/vsi.ts';
import type { StoredVsi } from '../store/store.ts';
import { Alarm, now } from './clock.ts';
import { LinkDriver, type LinkSettings, type Surroundings } from './link-driver.ts';
import { ModeKeeper } from './mode-keeper.ts';
import { Prober } from './prober.ts';
import { derivedId, fromStored, toCommand, toStored } from './requests.ts';
import { Rounds } from './rounds.ts';
import { interopOptions, lldpTiming, systemDescription } from './settings.ts';
import { probeReport, slaveStatus, vsiStatus } from './status.ts';

const DEFAULT_TIMEOUT = 20_000;
/** Of putting the rules into force; slaves that change without end, as a container can make them do, wait for the next. */
const ROUNDS_PER_SECOND = 20;
/** After a round, in times the CPU that it took, for slaves beyond the limits cost too; and no longer than so many milliseconds. */
const REST = 9;
const REST_MAX = 5_000;
/** Milliseconds until what the store has not taken is tried again. */
const STORE_RETRY = 5_000;
/** Slaves that status tells of; how many there are is counted. */
const SLAVES_LISTED = 256;
const OWNER_DBUS = 'dbus';
/** Kinds of links that get no frames for other addresses, however well these are reflected. */
const HEAR_THEMSELVES_ONLY = ['macvlan', 'macvtap', 'ipvlan', 'ipvtap'];

interface Waiting {
  resolve(vsi: StationVsi): void;
  reject(error: EvbError): void;
  timer: NodeJS.Timeout;
}

interface Wish {
  command: VsiCommand;
  owner: string;
  profile: string;
}

export interface UplinkSettings extends LinkSettings<UplinkConfig> {
  /** Those that may be about this uplink. */
  rules: readonly Rule[];
}

/** An uplink of the configuration, run: its station machine, its requests, its part of the store. */
export class Uplink extends LinkDriver<StationEffect, StationVsi> {
  readonly role = 'station';
  protected readonly machine: Station;
  #settings: UplinkSettings;
  readonly #waiting = new Map<number, Waiting>();
  /** Wishes that are being written and that the machine does not know yet, by VSI; undefined: it is to end. */
  readonly #written = new Map<string, Wish | undefined>();
  #nextTicket = 1;
  /** undefined: not known yet. */
  #slaves: readonly Slave[] | undefined;
  /** The interface is there; else nothing is known of its slaves. */
  #here = false;
  readonly #association = new Association();
  #verdict: Verdict['slaves'] = new Map();
  readonly #rounds = new Rounds(
    () => this.#round(),
    () => this.#ruled && !this.#resting,
  );
  /** The uplink's when the rules were last put into force. */
  #macRuled: MacAddress | undefined;
  #resting = false;
  readonly #restAlarm = new Alarm(() => {
    this.#resting = false;
    this.#rounds.resume();
  });
  readonly #pace = new TokenBucket(ROUNDS_PER_SECOND, now());
  readonly #retryAlarm = new Alarm(() => this.#rounds.due());
  /** Slaves that the limits leave without VSI, and whether the log has said so. */
  #beyond = 0;
  #beyondSaid = false;
  /** Something is new for those that the bridge has refused for good. */
  #again = false;
  readonly #fallback = new Fallback();
  readonly #fallbackAlarm = new Alarm(() => this.#observeRelay());
  #modes: ModeKeeper;
  #prober: Prober | undefined;

  constructor(name: string, settings: UplinkSettings, around: Surroundings) {
    super(name, around, settings.limits['frames-per-second']);
    this.#settings = settings;
    const { config } = settings;
    this.machine = new Station(stationPolicy(settings), {
      system: systemDescription(name, CAPABILITY_STATION_ONLY),
      lldp: lldpTiming(config.lldp),
      outboxMax: 2 * settings.limits['vsis-per-link'],
      ...interopOptions(config.interop),
    });
    this.#modes = this.#newModeKeeper([]);
  }

  /** What differs is applied to the running link. */
  reconfigure(settings: UplinkSettings): void {
    const before = this.#settings;
    this.#settings = settings;
    this.applyCommon(before, settings);
    this.perform(this.machine.setPolicy(stationPolicy(settings), now()));
    this.#again = true;
    this.#beyondSaid = false;
    this.#rounds.due();
    this.#modes.reshape(true);
  }

  /** What stands on top of the link now, and whether the link is there. A slave that has not changed is the same object. */
  setSlaves(slaves: readonly Slave[], here: boolean): void {
    const before = this.#slaves;
    const same = before?.length === slaves.length && slaves.every((slave, i) => slave === before[i]);
    if (same && here === this.#here) return;
    this.#slaves = slaves;
    this.#here = here;
    this.#rounds.due();
    this.linkChanged();
  }

  override takeUp(): void {
    super.takeUp();
    this.#rounds.due();
  }

  override async stop(): Promise<void> {
    await super.stop();
    this.#fallbackAlarm.cancel();
    this.closed('evbd ends');
    await Promise.all([this.#rounds.close(), this.#modes.close()]);
    this.#retryAlarm.cancel();
    this.#restAlarm.cancel();
  }

  override async recall(): Promise<void> {
    await super.recall();
    const switched = await this.around.store.switched(this.name);
    this.#modes = this.#newModeKeeper(switched);
    if (switched.length > 0) this.#fallback.resume();
    for (const stored of await this.around.store.vsis(this.name)) {
      try {
        const inForce = stored.inForce && fromStored(stored.inForce);
        this.machine.resume(fromStored(stored.wanted), inForce, stored.owner, stored.profile, now());
      } catch {
        this.log(
          'error',
          `a stored VSI cannot be read and is left alone: ${JSON.stringify(stored).slice(0, 200)}`,
        );
      }
    }
  }

  /** Resolves when the bridge has confirmed, rejects with EvbError when it refused or the time is up. */
  async request(request: VsiRequest, kind: VdpRequest): Promise<VsiStatus> {
    const { config, profiles } = this.#settings;
    const { command, profile } = toCommand(request, kind, profiles, config.interop['manager-octet']);
    this.#refuse(command);
    const key = vsiKey(command);
    await this.#durably(key, { command, owner: OWNER_DBUS, profile });
    try {
      // While it was written another request may have taken the place.
      this.#refuse(command);
    } catch (error) {
      await this.#makeDurable(key);
      throw error;
    }
    const vsi = await this.#settlement(
      (ticket) => this.machine.want(command, OWNER_DBUS, profile, ticket, now()),
      request.timeout ?? DEFAULT_TIMEOUT,
      () => this.machine.vsis.get(key),
      'it stays wanted and is asked for again',
    );
    return this.vsiStatus(vsi);
  }

  async deassociate(id: string): Promise<void> {
    const vsi = this.find(id);
    if (vsi === undefined) throw new EvbError('NoSuchVsi', `there is no VSI ${id} on ${this.name}`);
    if (isRule(vsi.owner) && vsi.wanted !== undefined) {
      const text = `VSI ${vsi.id} is wanted by rule ${vsi.owner.slice('rule:'.length)} of the configuration`;
      throw new EvbError('Conflict', `${this.name}: ${text}; it ends with its interface or the rule`);
    }
    await this.#end(vsi);
  }

  async #end(vsi: StationVsi): Promise<void> {
    await this.#durably(vsi.key, undefined);
    // It may have ended by itself while that was written.
    if (!this.machine.vsis.has(vsi.key)) return;
    await this.#settlement(
      (ticket) => this.machine.unwant(vsi.key, ticket, now()),
      DEFAULT_TIMEOUT,
      () => vsi,
      'it is no longer wanted and ends when the bridge answers or gives it up',
    );
  }

  /** Whether the bridge reflects, by frames of our own. Rejects with EvbError when that cannot be tried. */
  async probe(): Promise<ProbeReport> {
    const unfit = this.released ? 'released; evbctl reload takes it up again' : this.absence;
    if (unfit !== undefined) throw this.#notReady(unfit);
    if (this.#prober !== undefined) {
      throw new EvbError('Conflict', `${this.name}: a probe is under way; it takes three seconds at most`);
    }
    const { index, mac, kind, macvlanMode } = this.link!;
    if (HEAR_THEMSELVES_ONLY.includes(kind ?? '') && macvlanMode !== 'passthru') {
      const text = `a ${kind} hears no other address than its own; probe the interface below it`;
      throw new EvbError('InvalidArgument', `${this.name}: ${text}`);
    }
    try {
      const prober = new Prober(index, mac!);
      this.#prober = prober;
      const outcome = await prober.outcome;
      if (outcome.sent + outcome.duplicates === 0) throw new Error('the kernel took none of the frames');
      return probeReport(this.name, outcome, prober.addresses, this.machine.relay);
    } catch (error) {
      throw error instanceof EvbError ? error : this.#notReady(`no probe: ${(error as Error).message}`);
    } finally {
      this.#prober = undefined;
    }
  }

  protected override kernelChanged(): void {
    if (this.link?.mac !== this.#macRuled) this.#rounds.due();
  }

  protected override closed(reason: string): void {
    this.#prober?.abort(this.#notReady(`the probe was given up: ${reason}`));
  }

  #notReady(text: string): EvbError {
    return new EvbError('NotReady', `${this.name}: ${text}`);
  }

  protected override async letGo(): Promise<void> {
    // A VSI whose DeAssociate stays unanswered is over on our side all the same.
    await this.#rounds.idle();
    await Promise.all([...this.machine.vsis.values()].map((vsi) => this.#end(vsi).catch(() => {})));
  }

  protected override get counters(): Record<string, number> {
    return { ...super.counters, slaves: this.#slaves?.length ?? 0, slavesBeyondLimits: this.#beyond };
  }

  protected override get slaves(): SlaveStatus[] {
    return (this.#slaves ?? [])
      .slice(0, SLAVES_LISTED)
      .map((slave) =>
        slaveStatus(
          slave,
          this.#verdict.get(slave.serial),
          this.machine.vsis,
          this.#modes.switched(slave),
          this.#modes.refusal(slave),
        ),
      );
  }

  /** There are slaves that the rules may be about. */
  get #ruled(): boolean {
    return this.#slaves !== undefined && !this.released && !this.stopped;
  }

  /** Puts the rules into force for the newest slaves. */
  async #round(): Promise<void> {
    while (!this.#pace.take(now())) await pause(1000 / ROUNDS_PER_SECOND);
    if (!this.#ruled) return;
    const begun = process.cpuUsage();
    try {
      await this.#judge(this.#slaves!);
    } catch (error) {
      this.log('error', `rules are not put into force: ${(error as Error).message}`);
    }
    const { user, system } = process.cpuUsage(begun);
    const rest = Math.min(REST_MAX, (REST * (user + system)) / 1_000);
    if (rest < 1) return;
    this.#resting = true;
    this.#restAlarm.set(now() + rest);
  }

  async #judge(slaves: readonly Slave[]): Promise<void> {
    const { config, rules, limits } = this.#settings;
    const auto = config.slaves === 'auto';
    const again = this.#again;
    this.#again = false;
    this.#macRuled = this.link?.mac;
    const verdict = this.#association.judge(
      auto ? slaves.map((slave) => ruledSlave(slave, this.#modes.switched(slave))) : [],
      rules,
      this.machine.vsis,
      (filters, attempt) => ({ idFormat: VSIID_UUID, id: derivedId(filters, attempt) }),
      again,
      { perUplink: limits['slaves-per-uplink'], perNamespace: limits['slaves-per-namespace'] },
      this.#macRuled,
    );
    this.#verdict = verdict.slaves;
    this.#sayBeyond(verdict.beyond);
    const ended = await Promise.all(verdict.unwant.map((key) => this.#unwantByRule(key)));
    const begun = await Promise.all(verdict.want.map((wish) => this.#wantByRule(wish)));
    if (![...ended, ...begun].every(Boolean)) {
      this.#again ||= again;
      this.#retryAlarm.set(now() + STORE_RETRY);
    }
    this.#modes.reshape();
    this.linkChanged();
  }

  /** Once: who makes slaves without end shall not fill the log as well. */
  #sayBeyond(count: number): void {
    this.#beyond = count;
    if (count === 0 || this.#beyondSaid) return;
    this.#beyondSaid = true;
    const which = 'limits: slaves-per-uplink, slaves-per-namespace';
    this.log('warn', `${count} slaves are beyond the limits and get no VSI (${which}; evbctl status)`);
  }

  /** False: the store has not taken it, and it goes on as it was. */
  async #unwantByRule(key: string): Promise<boolean> {
    try {
      await this.#durably(key, undefined);
    } catch {
      return false;
    }
    this.perform(this.machine.unwant(key, undefined, now()));
    return true;
  }

  /** False: the store has not taken it. */
  async #wantByRule(wish: RuledVsi): Promise<boolean> {
    const { command, owner, profile } = wish;
    const key = vsiKey(command);
    const objection = () => this.machine.objection(command, owner)?.message;
    const refusal = objection();
    if (refusal === undefined) {
      try {
        await this.#durably(key, wish);
      } catch (error) {
        this.#unassociated(key, (error as Error).message);
        return false;
      }
    }
    const since = refusal ?? objection();
    if (since === undefined) {
      this.perform(this.machine.want(command, owner, profile, undefined, now()));
      return true;
    }
    const { filters } = command;
    this.log('warn', `${owner}: ${filters[0]!.mac}/${filters[0]!.vid} is not associated: ${since}`);
    this.#unassociated(key, since);
    if (refusal === undefined) this.report(this.#makeDurable(key), `VSI of ${owner} is not durable`);
    return true;
  }

  #unassociated(key: string, reason: string): void {
    for (const [serial, verdict] of this.#verdict)
      if ('vsi' in verdict && verdict.vsi === key) this.#verdict.set(serial, { reason });
  }

  protected override restoreKernel(): Promise<void> {
    return this.#modes.restore();
  }

  protected override perform(effects: readonly StationEffect[]): void {
    super.perform(effects);
    this.#observeRelay();
  }

  /** Without relay the slaves may have to do without the bridge. */
  #observeRelay(): void {
    if (this.stopped) return;
    const { config } = this.#settings;
    const enabled = config['when-relay-refused'] === 'bridge' && !this.released;
    const changed = this.#fallback.observe(enabled, this.machine.relay, now());
    this.#fallbackAlarm.set(this.#fallback.nextDeadline());
    if (!changed) return;
    const text = this.#fallback.active
      ? `no relay (${this.machine.relayReason}): the slaves of rules are to be set to bridge mode`
      : 'the slaves of rules are to be set back to VEPA mode';
    this.log('warn', text);
    this.#modes.reshape();
  }

  #newModeKeeper(journal: readonly SwitchedSlave[]): ModeKeeper {
    return new ModeKeeper({
      journal,
      onJournal: (switched) => this.around.store.putSwitched(this.name, switched),
      slaves: () => (this.#here ? this.#slaves : undefined),
      wanted: ({ serial, kind }) =>
        this.#fallback.active &&
        (kind === 'macvlan' || kind === 'macvtap') &&
        'vsi' in (this.#verdict.get(serial) ?? {}),
      placeOf: (namespaceId) => this.around.placeOf(namespaceId),
      setMode: (slave, mode, place) => this.around.setSlaveMode(slave, mode, place),
      changed: () => this.#rounds.due(),
      warn: (text) => this.log('warn', text),
    });
  }

  protected override opened(link: LinkUp): StationEffect[] {
    return this.machine.linkUp(link, now());
  }

  protected override execute(effect: StationEffect): void {
    switch (effect.kind) {
      case 'vsi':
        this.#tell(effect.vsi, effect.removed);
        // An address that somebody else had may be the rules' now.
        if (effect.removed) this.#rounds.due();
        break;
      case 'peer':
        if (effect.neighbour === undefined) this.#again = true;
        else if (this.#again) this.#rounds.due();
        this.executeCommon(effect);
        break;
      case 'durable':
        this.report(this.#makeDurable(effect.vsi.key), `VSI ${effect.vsi.id} is not durable`);
        break;
      case 'settled':
        this.#settle(effect.ticket, effect.vsi, effect.error);
        break;
      default:
        this.executeCommon(effect);
    }
  }

  #refuse(command: VsiCommand): void {
    if (this.released)
      throw new EvbError('NotReady', `${this.name} is released; evbctl reload takes it up again`);
    const objection = this.machine.objection(command, OWNER_DBUS);
    if (objection !== undefined) throw new EvbError(objection.name, `${this.name}: ${objection.message}`);
  }

  /** What cannot be made durable is not begun. */
  async #durably(key: string, wish: Wish | undefined): Promise<void> {
    this.#written.set(key, wish);
    try {
      await this.#makeDurable(key);
    } catch (error) {
      this.log('error', (error as Error).message);
      throw new EvbError('NotReady', (error as Error).message);
    } finally {
      if (this.#written.get(key) === wish) this.#written.delete(key);
    }
  }

  #settlement(
    begin: (ticket: number) => StationEffect[],
    timeout: number,
    vsi: () => StationVsi | undefined,
    afterwards: string,
  ): Promise<StationVsi> {
    return new Promise((resolve, reject) => {
      const ticket = this.#nextTicket++;
      const timer = setTimeout(() => {
        this.#waiting.delete(ticket);
        const waitedFor = vsi();
        const state = waitedFor
          ? `${waitedFor.id} is ${waitedFor.state}: ${waitedFor.history.last?.reason}`
          : 'gone';
        const text = `${this.name}: no answer within ${timeout / 1000} s; ${state}; ${afterwards}`;
        reject(new EvbError('Timeout', text));
      }, timeout);
      this.#waiting.set(ticket, { resolve, reject, timer });
      this.perform(begin(ticket));
    });
  }

  #settle(ticket: number, vsi: StationVsi, error: EvbError | undefined): void {
    const waiting = this.#waiting.get(ticket);
    if (waiting === undefined) return;
    this.#waiting.delete(ticket);
    clearTimeout(waiting.timer);
    if (error === undefined) waiting.resolve(vsi);
    else waiting.reject(new EvbError(error.name, `${this.name}: ${error.message}`));
  }

  /** What changes while a newer wish is being written goes with that wish: it must not bring back the older one. */
  #makeDurable(key: string): Promise<void> {
    const { store } = this.around;
    const vsi = this.machine.vsis.get(key);
    const wish = this.#written.has(key) ? this.#written.get(key) : vsi && wishOf(vsi);
    if (wish === undefined) return store.deleteVsi(this.name, key);
    return store.putVsi(this.name, key, storedVsi(wish, vsi?.machine.operCmd));
  }

  #tell(vsi: StationVsi, removed: boolean): void {
    const status = this.vsiStatus(vsi);
    this.log(
      status.state === 'failed' ? 'warn' : 'info',
      `VSI ${status.id} ${status.state}: ${status.reason}`,
    );
    this.around.vsiChanged(status, removed);
  }

  protected override vsiStatus(vsi: StationVsi): VsiStatus {
    const { command, owner, profile, state, history } = vsi;
    return { ...vsiStatus(this.name, command, state, history), profile, owner };
  }
}

function wishOf({ wanted, owner, profile }: StationVsi): Wish | undefined {
  return wanted && { command: wanted, owner, profile };
}

function storedVsi({ command, owner, profile }: Wish, inForce: VsiCommand | undefined): StoredVsi {
  return { wanted: toStored(command), ...(inForce && { inForce: toStored(inForce) }), owner, profile };
}

function stationPolicy({ config, limits }: LinkSettings<UplinkConfig>): StationPolicy {
  return {
    protocol: config.protocol,
    evb: config.evb,
    reflectiveRelay: config['reflective-relay'],
    groupIds: config['group-ids'],
    peer: config.peer,
    proposal: { r: config.ecp['max-retries'], rte: config.ecp.rte, rwd: config.vdp.rwd, rka: config.vdp.rka },
    vsisPerLink: limits['vsis-per-link'],
  };
}

/** Of VLAN devices on top of each other the one that the slave stands on counts. */
function ruledSlave(slave: Slave, switched: boolean): RuledSlave {
  const { serial, name, namespaceId, origin, kind, vepa, up, mac, vlans } = slave;
  const vid = vlans[0]?.id;
  return {
    serial,
    name,
    up,
    vepa: vepa || switched,
    sharesMac: kind === 'ipvlan' || kind === 'ipvtap',
    ...(namespaceId === undefined ? {} : { namespaceId }),
    ...(origin === undefined ? {} : { origin }),
    ...(mac === undefined ? {} : { mac }),
    ...(vid === undefined ? {} : { vid }),
  };
}

import { CAPABILITY_MAC_BRIDGE } from '../../protocols/lldp-codec/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import type { Link as KernelLink } from '../../protocols/rtnetlink/index.ts';
import {
  Bridge,
  type BridgeEffect,
  type BridgePolicy,
  type BridgeVsi,
  type ChangeId,
} from '../bridge/bridge.ts';
import type { PortConfig } from '../config/config.ts';
import type { Profile } from '../config/profile.ts';
import { BridgePort, type BridgePortJournal } from '../kernel/bridge-port.ts';
import { EvbError, type LinkStatus, type VsiStatus } from '../model.ts';
import { now } from './clock.ts';
import { LinkDriver, type Surroundings } from './link-driver.ts';
import { fromStored, toStored } from './requests.ts';
import { lldpTiming, systemDescription } from './settings.ts';
import { linkTimers, peerStatus, vsiStatus } from './status.ts';

/** Somebody else's change of our flags is put right once; when it comes back within this time the port is left to them. */
const CONTEST = 10_000;

/** A port of the configuration, run: its bridge machine, the kernel's bridge port, its part of the store. */
export class SwitchPort extends LinkDriver<BridgeEffect> {
  readonly role = 'bridge';
  protected readonly machine: Bridge;
  readonly #config: PortConfig;
  /** undefined while the interface is in no Linux bridge. */
  #port: BridgePort | undefined;
  #journal: BridgePortJournal | undefined;
  #hairpinWanted = false;
  #correctedAt = Number.NEGATIVE_INFINITY;

  constructor(
    name: string,
    config: PortConfig,
    profiles: readonly Profile[],
    vsisPerLink: number,
    around: Surroundings,
  ) {
    super(name, around);
    this.#config = config;
    this.machine = new Bridge(bridgePolicy(config, profiles, vsisPerLink), {
      system: systemDescription(name, CAPABILITY_MAC_BRIDGE),
      lldp: lldpTiming(config.lldp),
      vsisPerEcpdu: Number.POSITIVE_INFINITY,
      outboxMax: 2 * vsisPerLink,
      ecpSource: config.interop['ecp-source'],
    });
  }

  override async recall(): Promise<void> {
    await super.recall();
    this.#journal = await this.around.store.journal(this.name);
    for (const stored of await this.around.store.inForce(this.name))
      this.machine.resume(fromStored(stored), now());
  }

  protected override kernelChanged(before: KernelLink | undefined): void {
    const { link } = this;
    this.#attach(link, before);
    if (this.#port !== undefined && link !== undefined && !this.released)
      this.report(this.#correct(link), 'bridge port');
  }

  status(): LinkStatus {
    const { machine } = this;
    return {
      name: this.name,
      role: this.role,
      mac: this.link?.mac ?? '',
      protocol: machine.evb.remote === undefined ? 'none' : 'ratified',
      relay: machine.relay,
      relayReason: this.absence ?? machine.relayReason,
      peer: peerStatus(machine.port),
      timers: linkTimers(machine.timers, machine.port),
      counters: { ...this.counters, ...machine.counters, vsis: machine.vsis.size },
    };
  }

  vsis(): VsiStatus[] {
    return [...this.machine.vsis.values()].map((vsi) => this.#status(vsi));
  }

  has(id: string): boolean {
    return [...this.machine.vsis.values()].some((vsi) => vsi.id === id);
  }

  /** The bridge throws a VSI out: an unsolicited DeAssociate. */
  async deassociate(id: string): Promise<void> {
    const vsi = [...this.machine.vsis.values()].find((candidate) => candidate.id === id);
    if (vsi === undefined) throw new EvbError('NoSuchVsi', `there is no VSI ${id} on ${this.name}`);
    this.perform(this.machine.remove(vsi.key, now()));
  }

  /** shutdown() of the machine tells the station; there is nobody to wait for. */
  protected override async letGo(): Promise<void> {}

  protected override async restoreKernel(): Promise<void> {
    await this.#port?.restore();
  }

  protected override opened(mac: MacAddress, firstSequence: number): BridgeEffect[] {
    return this.machine.linkUp(mac, this.#port !== undefined, firstSequence, now());
  }

  protected override execute(effect: BridgeEffect): void {
    switch (effect.kind) {
      case 'hairpin':
        this.#hairpinWanted = effect.on;
        void this.#setHairpin(effect.on);
        break;
      case 'admit':
      case 'revoke':
        void this.#change(effect.kind, effect.macs, effect.id);
        break;
      case 'vsi':
        this.#tell(effect.vsi, effect.removed);
        break;
      case 'durable': {
        const { vsi, inForce } = effect;
        const { store } = this.around;
        const written =
          inForce === undefined
            ? store.deleteInForce(this.name, vsi.key)
            : store.putInForce(this.name, vsi.key, toStored(inForce));
        this.report(written, `VSI ${vsi.id} is not durable`);
        break;
      }
      default:
        this.executeCommon(effect);
    }
  }

  /** Follows the interface into and out of Linux bridges. */
  #attach(link: KernelLink | undefined, before: KernelLink | undefined): void {
    const bridged = link?.bridgePort !== undefined && link.master !== undefined;
    const moved =
      this.#port !== undefined && (link?.index !== this.#port.index || link.master !== before?.master);
    if (this.#port !== undefined && (!bridged || moved)) this.#port = undefined;
    if (this.#port === undefined && bridged && !this.released) {
      const journal = this.#journal ?? null;
      this.#port = new BridgePort(this.around.rtnetlink, link, {
        journal,
        onJournal: (next) => {
          this.#journal = next ?? undefined;
          return this.around.store.putJournal(this.name, next);
        },
      });
      this.report(this.#takeOver(this.#port, journal), 'the bridge port could not be set up');
    }
    this.perform(this.machine.setReflects(this.#port !== undefined, now()));
  }

  /** Brings a port that we have just got to what the machine wants, whatever the run before left. */
  async #takeOver(port: BridgePort, journal: BridgePortJournal | null): Promise<void> {
    if (this.#config.enforce) await port.lock();
    else await port.unlock();
    const wanted = this.#config.enforce ? this.machine.admitted : [];
    await Promise.all(wanted.map((mac) => port.admit(mac)));
    await Promise.all(
      (journal?.fdb ?? []).filter((mac) => !wanted.includes(mac)).map((mac) => port.revoke(mac)),
    );
    if (!this.#hairpinWanted) await this.#restoreHairpin(port);
  }

  /** Hairpin on, or as it was before us; the machine tells the station once it is so. */
  async #setHairpin(on: boolean): Promise<void> {
    const port = this.#port;
    let problem: string | undefined;
    if (port === undefined) problem = on ? 'the port is in no Linux bridge and cannot reflect' : undefined;
    else {
      try {
        if (on) for (const warning of await port.setHairpin(true)) this.log('warn', warning);
        else await this.#restoreHairpin(port);
      } catch (error) {
        problem = (error as Error).message;
        this.log('error', problem);
      }
    }
    if (this.#hairpinWanted !== on || port !== this.#port) return;
    this.perform(this.machine.relayApplied(on && problem === undefined, problem, now()));
  }

  async #restoreHairpin(port: BridgePort): Promise<void> {
    const before = port.journal?.hairpin;
    if (before !== undefined) await port.setHairpin(before);
  }

  async #change(kind: 'admit' | 'revoke', macs: MacAddress[], id: ChangeId | undefined): Promise<void> {
    const port = this.#port;
    let problem: string | undefined;
    try {
      if (port === undefined) problem = 'the port is in no Linux bridge: nothing can be let in';
      else {
        const warnings = await Promise.all(
          macs.map((mac) => (kind === 'admit' ? port.admit(mac) : port.revoke(mac))),
        );
        for (const warning of warnings.flat()) this.log('warn', warning);
      }
    } catch (error) {
      problem = (error as Error).message;
      this.log('warn', problem);
    }
    if (id !== undefined) this.perform(this.machine.kernelDone(id, problem, now()));
  }

  /** Somebody else changed what we set. */
  async #correct(link: KernelLink): Promise<void> {
    const port = this.#port!;
    for (const { setting, text } of await port.observe(link)) {
      if (port !== this.#port) return;
      if (setting === 'bridge') {
        // It left its bridge and came back unseen: the kernel has forgotten our settings.
        this.#port = undefined;
        this.perform(this.machine.setReflects(false, now()));
        this.#attach(this.link, undefined);
        return;
      }
      const contested = now() - this.#correctedAt < CONTEST;
      const again = contested ? 'it was put right a moment ago; left alone' : 'put right';
      this.log('warn', setting === 'isolated' ? text : `${text}; ${again}`);
      if (setting === 'isolated' || contested) {
        if (setting === 'hairpin') this.perform(this.machine.relayApplied(false, text, now()));
        continue;
      }
      this.#correctedAt = now();
      if (setting === 'hairpin') await this.#setHairpin(this.#hairpinWanted);
      else await port.lock();
    }
  }

  #tell(vsi: BridgeVsi, removed: boolean): void {
    const status = this.#status(vsi);
    this.log('info', `VSI ${status.id} ${status.state}: ${status.reason}`);
    this.around.vsiChanged(status, removed);
  }

  #status(vsi: BridgeVsi): VsiStatus {
    const { command, profile, state, history } = vsi;
    return { ...vsiStatus(this.name, command, state, history), profile, owner: 'peer' };
  }
}

function bridgePolicy(config: PortConfig, profiles: readonly Profile[], vsisPerLink: number): BridgePolicy {
  return {
    evb: config.evb,
    reflectiveRelay: config['reflective-relay'],
    groupIds: config['group-ids'],
    proposal: { r: config.ecp['max-retries'], rte: config.ecp.rte, rwd: config.vdp.rwd, rka: config.vdp.rka },
    admission: config.admission,
    profiles,
    enforce: config.enforce,
    vsisPerLink,
  };
}

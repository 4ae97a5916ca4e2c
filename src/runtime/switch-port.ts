import { CAPABILITY_MAC_BRIDGE } from '../../protocols/lldp-codec/index.ts';
import { Bridge, type BridgeEffect, type BridgePolicy, type BridgeVsi } from '../bridge/bridge.ts';
import type { PortConfig } from '../config/config.ts';
import type { BridgePortJournal } from '../kernel/bridge-port.ts';
import { EvbError, type VsiStatus } from '../model.ts';
import type { LinkUp } from '../port/role.ts';
import { now } from './clock.ts';
import type { Leak } from './leak-keeper.ts';
import { LinkDriver, type LinkSettings, type Surroundings } from './link-driver.ts';
import { PortKeeper } from './port-keeper.ts';
import { fromStored, toStored } from './requests.ts';
import { interopOptions, lldpTiming, systemDescription } from './settings.ts';
import { vsiStatus } from './status.ts';

/** A port of the configuration, run: its bridge machine, the kernel's bridge port, its part of the store. */
export class SwitchPort extends LinkDriver<BridgeEffect, BridgeVsi> {
  readonly role = 'bridge';
  protected readonly machine: Bridge;
  #settings: LinkSettings<PortConfig>;
  #keeper: PortKeeper;

  constructor(name: string, settings: LinkSettings<PortConfig>, around: Surroundings) {
    super(name, around, settings.limits['frames-per-second']);
    this.#settings = settings;
    const { config } = settings;
    this.machine = new Bridge(bridgePolicy(settings), {
      system: systemDescription(name, CAPABILITY_MAC_BRIDGE),
      lldp: lldpTiming(config.lldp),
      outboxMax: 2 * settings.limits['vsis-per-link'],
      ...interopOptions(config.interop),
    });
    this.#keeper = this.#newKeeper(undefined);
  }

  /** What differs is applied to the running port. */
  reconfigure(settings: LinkSettings<PortConfig>): void {
    const before = this.#settings;
    this.#settings = settings;
    this.applyCommon(before, settings);
    this.perform(this.machine.setPolicy(bridgePolicy(settings), now()));
    if (!this.released) this.around.leaks.serve(this.name, settings.config.leak);
  }

  /** Its leak is another one. */
  leakChanged(): void {
    const { state, reason } = this.leak;
    this.log(state === 'open' ? 'warn' : 'info', `leak ${state}${reason === '' ? '' : `: ${reason}`}`);
    this.linkChanged();
  }

  override async recall(): Promise<void> {
    await super.recall();
    this.#keeper = this.#newKeeper(await this.around.store.journal(this.name));
    for (const stored of await this.around.store.inForce(this.name)) {
      try {
        this.machine.resume(fromStored(stored), now());
      } catch {
        this.log(
          'error',
          `a stored VSI cannot be read and is left alone: ${JSON.stringify(stored).slice(0, 200)}`,
        );
      }
    }
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#keeper.close();
  }

  protected override kernelChanged(): void {
    if (this.released) return;
    this.around.leaks.serve(this.name, this.#settings.config.leak);
    this.#keeper.follow(this.link);
    this.perform(this.machine.setBridged(this.#keeper.bridged, now()));
  }

  /** The bridge throws a VSI out: an unsolicited DeAssociate. */
  async deassociate(id: string): Promise<void> {
    const vsi = this.find(id);
    if (vsi === undefined) throw new EvbError('NoSuchVsi', `there is no VSI ${id} on ${this.name}`);
    this.perform(this.machine.remove(vsi.key, 'removed by the administrator', now()));
  }

  /** Every VSI gets an unsolicited DeAssociate. */
  protected override async letGo(): Promise<void> {
    for (const { key } of [...this.machine.vsis.values()]) {
      this.perform(this.machine.remove(key, 'the port is released', now()));
    }
    await this.drained();
  }

  protected override async restoreKernel(): Promise<void> {
    try {
      await Promise.all([this.#keeper.restore(), this.around.leaks.release(this.name)]);
    } finally {
      this.perform(this.machine.setBridged(false, now()));
    }
  }

  protected override get leak(): Leak {
    return this.around.leaks.leak(this.name);
  }

  protected override opened(link: LinkUp): BridgeEffect[] {
    return this.machine.linkUp({ ...link, hairpin: this.#keeper.leftHairpinOn(this.link!) }, now());
  }

  protected override execute(effect: BridgeEffect): void {
    switch (effect.kind) {
      case 'shape':
        if (!this.released) this.#keeper.reshape();
        break;
      case 'vsi':
        this.#tell(effect.vsi, effect.removed);
        break;
      case 'refused':
        this.log('warn', `VSI ${effect.vsi.id} refused: ${effect.reason}`);
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

  #newKeeper(journal: BridgePortJournal | undefined): PortKeeper {
    return new PortKeeper({
      rtnetlink: this.around.rtnetlink,
      journal,
      onJournal: (next) => this.around.store.putJournal(this.name, next),
      shape: () => this.machine.shape,
      clearIsolated: () => this.#settings.config.isolated === 'clear',
      onState: (state) => this.perform(this.machine.kernelIs(state, now())),
      warn: (text) => this.log('warn', text),
    });
  }

  #tell(vsi: BridgeVsi, removed: boolean): void {
    const status = this.vsiStatus(vsi);
    this.log('info', `VSI ${status.id} ${status.state}: ${status.reason}`);
    this.around.vsiChanged(status, removed);
  }

  protected override vsiStatus(vsi: BridgeVsi): VsiStatus {
    const { id, command, profile, state, history } = vsi;
    return { ...vsiStatus(this.name, command, state, history), id, profile, owner: 'peer' };
  }
}

function bridgePolicy({ config, limits, profiles }: LinkSettings<PortConfig>): BridgePolicy {
  return {
    protocol: config.protocol,
    evb: config.evb,
    reflectiveRelay: config['reflective-relay'],
    groupIds: config['group-ids'],
    proposal: { r: config.ecp['max-retries'], rte: config.ecp.rte, rwd: config.vdp.rwd, rka: config.vdp.rka },
    admission: config.admission,
    profiles,
    enforce: config.enforce,
    vsisPerLink: limits['vsis-per-link'],
  };
}

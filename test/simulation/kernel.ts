import type { MacAddress } from '../../protocols/octets/index.ts';
import type { PortShape, PortState } from '../../src/port/shape.ts';
import type { Faults } from './plan.ts';
import type { Random } from './random.ts';
import type { Timeline } from './timeline.ts';

/** A Linux bridge: which port a static entry is at. */
export class KernelBridge {
  readonly entries = new Map<MacAddress, KernelPort>();
}

export class KernelPort {
  hairpin = false;
  bridged = true;
  readonly bridge: KernelBridge;

  constructor(bridge: KernelBridge) {
    this.bridge = bridge;
  }

  get admitted(): MacAddress[] {
    return [...this.bridge.entries].flatMap(([mac, port]) => (port === this ? [mac] : []));
  }

  /** The port left the bridge, or the host was booted: nothing is left of its settings. */
  forget(): void {
    this.hairpin = false;
    for (const mac of this.admitted) this.bridge.entries.delete(mac);
  }
}

/** What has to be undone; survives the daemon. */
export interface Journal {
  macs: Set<MacAddress>;
  hairpin: boolean;
}

export interface KeeperSurroundings {
  timeline: Timeline;
  random: Random;
  port: KernelPort;
  /** Kept over a restart. */
  journal: Journal;
  faults: Faults;
  /** Happens when the daemon runs. */
  tell(event: () => void): void;
  shape(): PortShape;
  onState(state: PortState): void;
}

/** As src/runtime/port-keeper.ts: pursues the newest shape, one round at a time. */
export class Keeper {
  busy = false;
  readonly #around: KeeperSurroundings;
  readonly #entered = new Set<MacAddress>();
  #due = false;
  #dead = false;
  #steps: (() => void)[] = [];

  constructor(around: KeeperSurroundings) {
    this.#around = around;
  }

  reshape(): void {
    this.#due = true;
    if (this.busy || this.#dead) return;
    this.busy = true;
    // What goes on at this moment is part of the first wish.
    const { timeline, tell } = this.#around;
    timeline.in(0, () => tell(() => this.#round()));
  }

  /** Killed; of the round under way a part has been done. */
  kill(): void {
    this.#dead = true;
    const done = this.#around.random.integer(0, this.#steps.length);
    for (const step of this.#steps.slice(0, done)) step();
    this.#steps = [];
  }

  /** The port left its bridge: what was entered is gone. */
  forget(): void {
    this.#entered.clear();
  }

  #round(): void {
    if (this.#dead) return;
    const { timeline, random, port, faults } = this.#around;
    this.#due = false;
    const refused = new Map<MacAddress, string>();
    const wasBridged = port.bridged;
    if (wasBridged) this.#steps = this.#changes(this.#around.shape(), refused);
    const pause = random.chance(faults.kernelSlow) ? random.between(10, 12_000) : random.between(0.1, 2);
    timeline.in(pause, () => {
      if (this.#dead) return;
      const steps = this.#steps;
      this.#steps = [];
      if (port.bridged && wasBridged) for (const step of steps) step();
      this.#around.tell(() => {
        if (this.#dead) return;
        this.busy = false;
        const macs = port.bridged ? new Set(this.#entered) : new Set<MacAddress>();
        this.#around.onState({ hairpin: port.hairpin, macs, refused });
        if (this.#due) this.reshape();
      });
    });
  }

  /** One round in the order of the daemon: journal, entries, journal. */
  #changes(shape: PortShape, refused: Map<MacAddress, string>): (() => void)[] {
    const { random, port, journal, faults } = this.#around;
    const { entries } = port.bridge;
    const wanting = [...shape.macs].filter((mac) => !this.#entered.has(mac));
    const refusals = new Set(wanting.filter(() => random.chance(faults.kernelRefuses)));
    const out = [...new Set([...this.#entered, ...journal.macs])].filter((mac) => !shape.macs.has(mac));
    return [
      () => {
        for (const mac of wanting) if (!entries.has(mac)) journal.macs.add(mac);
      },
      ...wanting.map((mac) => () => {
        const at = entries.get(mac);
        if (at !== undefined && at !== port) refused.set(mac, 'it has a static entry at another port');
        else if (refusals.has(mac)) refused.set(mac, 'the kernel is out of sorts');
        else {
          entries.set(mac, port);
          this.#entered.add(mac);
        }
        if (refused.has(mac) && at !== port) journal.macs.delete(mac);
      }),
      ...out.flatMap((mac) => [
        () => {
          if (journal.macs.has(mac) && entries.get(mac) === port) entries.delete(mac);
        },
        () => {
          journal.macs.delete(mac);
          this.#entered.delete(mac);
        },
      ]),
      () => {
        if (shape.hairpin && !port.hairpin) journal.hairpin = true;
      },
      () => {
        if (shape.hairpin || journal.hairpin) port.hairpin = shape.hairpin;
        if (!shape.hairpin) journal.hairpin = false;
      },
    ];
  }
}

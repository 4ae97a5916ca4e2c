import { decodeLldpdu, encodeLldpdu, type Lldpdu, LldpduError, msap } from '../lldp-codec/index.ts';
import { DecodeError, type MacAddress, sameOctets } from '../octets/index.ts';

/** Seconds and counts of lldp.md 3. */
export interface LldpTiming {
  msgTxInterval: number;
  msgTxHold: number;
  msgFastTx: number;
  txFastInit: number;
  txCreditMax: number;
  reinitDelay: number;
}

export const LLDP_TIMING: LldpTiming = {
  msgTxInterval: 30,
  msgTxHold: 4,
  msgFastTx: 1,
  txFastInit: 4,
  txCreditMax: 5,
  reinitDelay: 2,
};

export type AdminStatus = 'disabled' | 'enabledTxOnly' | 'enabledRxOnly' | 'enabledRxTx';

export type LldpTxTimerState = 'TX_TIMER_INITIALIZE' | 'TX_TIMER_IDLE';
export type LldpTxState = 'TX_LLDP_INITIALIZE' | 'TX_IDLE' | 'TX_SHUTDOWN_FRAME';
export type LldpRxState = 'LLDP_WAIT_PORT_OPERATIONAL' | 'RX_LLDP_INITIALIZE' | 'RX_WAIT_FOR_FRAME';

/** Who we are on this port, and what we tell besides chassis, port and TTL. */
export type LocalSystem = Omit<Lldpdu, 'ttl' | 'others'>;

export interface LldpNeighbour {
  /** MSAP and source address: who claims to be a known neighbour from elsewhere is another one. */
  key: string;
  lldpdu: Lldpdu;
  /** LLDPDU as received, for whoever keeps it over a restart. */
  octets: Uint8Array;
  /** Address that its LLDPDUs come from. */
  source: MacAddress | undefined;
  /** Time of its first LLDPDU. */
  since: number;
  /** Time at which rxTTL runs out. */
  expires: number;
}

export type LldpEffect =
  | { kind: 'send'; lldpdu: Uint8Array }
  /** Each valid LLDPDU; `event` says whether its content is news. */
  | { kind: 'neighbour'; event: 'new' | 'changed' | 'refreshed'; neighbour: LldpNeighbour }
  | { kind: 'neighbourGone'; neighbour: LldpNeighbour; reason: string };

/** Neighbours kept on one agent; a further one sets tooManyNeighbors. */
const NEIGHBOURS_MAX = 8;
/** Milliseconds that a neighbour stays at least: however many more there are, they do not push each other out all the time. */
const STAY = 60_000;
const SECOND = 1000;

/**
 * One LLDP agent: the transmit timer, transmit and receive machines of lldp.md 4 to 6 on one port and one group address.
 * States that lead on at once (SIGNAL_TX, TX_INFO_FRAME, RX_FRAME, UPDATE_INFO, ...) are passed through within a call.
 * Times in milliseconds of one monotonic clock; ticks are a second apart.
 */
export class LldpAgent {
  txTimerState: LldpTxTimerState = 'TX_TIMER_INITIALIZE';
  txState: LldpTxState = 'TX_LLDP_INITIALIZE';
  rxState: LldpRxState = 'LLDP_WAIT_PORT_OPERATIONAL';
  readonly counters = {
    statsFramesOutTotal: 0,
    statsFramesInTotal: 0,
    statsFramesDiscardedTotal: 0,
    statsFramesInErrorsTotal: 0,
    statsTLVsDiscardedTotal: 0,
    statsTLVsUnrecognizedTotal: 0,
    statsAgeoutsTotal: 0,
    lldpduLengthErrors: 0,
  };
  /** Those that have been there longest come first. */
  readonly neighbours = new Map<string, LldpNeighbour>();
  /** Keys of neighbours for which there is always room, and which never make any. */
  favoured: readonly string[] = [];
  #timing: LldpTiming;
  #local: LocalSystem;
  #adminStatus: AdminStatus = 'enabledRxTx';
  #portEnabled = false;
  #localChange = false;
  #newNeighbor = false;
  #txNow = false;
  #txTick = false;
  #txTTR = 0;
  #txFast = 0;
  #txCredit = 0;
  #txShutdownWhile = 0;
  #tooManyNeighborsUntil = Number.NEGATIVE_INFINITY;
  #nextTick = Number.POSITIVE_INFINITY;

  constructor(local: LocalSystem, timing: LldpTiming = LLDP_TIMING) {
    this.#local = local;
    this.#timing = timing;
  }

  /** txTTL: seconds that the peer keeps what we say. */
  get txTTL(): number {
    return Math.min(65535, this.#timing.msgTxInterval * this.#timing.msgTxHold + 1);
  }

  get tooManyNeighbors(): boolean {
    return this.#tooManyNeighborsUntil > Number.NEGATIVE_INFINITY;
  }

  setTiming(timing: LldpTiming): LldpEffect[] {
    this.#timing = timing;
    return this.localChanged(this.#local);
  }

  /** Carrier and administrative state of the port. */
  setPortEnabled(enabled: boolean, now: number): LldpEffect[] {
    if (enabled === this.#portEnabled) return [];
    this.#portEnabled = enabled;
    this.#nextTick = enabled ? now + SECOND : Number.POSITIVE_INFINITY;
    if (enabled) return this.#run();
    this.txState = 'TX_LLDP_INITIALIZE';
    this.#run();
    return this.#initializeRx('link down');
  }

  /** A status without transmission sends a shutdown LLDPDU first. */
  setAdminStatus(adminStatus: AdminStatus): LldpEffect[] {
    this.#adminStatus = adminStatus;
    const effects = this.#run();
    if (!receives(adminStatus)) effects.push(...this.#initializeRx('LLDP is off on this side'));
    return effects;
  }

  /** Something that we tell has changed: it goes out at once, credit permitting. */
  localChanged(local: LocalSystem): LldpEffect[] {
    this.#local = local;
    this.#localChange = true;
    return this.#run();
  }

  /**
   * An LLDPDU with this agent's destination address. What it makes us send waits for the next `localChanged` or `advance`
   * (due at once), so that one LLDPDU carries all that its reading changed.
   */
  receive(octets: Uint8Array, now: number, source?: MacAddress): LldpEffect[] {
    if (this.rxState !== 'RX_WAIT_FOR_FRAME') return [];
    this.counters.statsFramesInTotal++;
    let lldpdu: Lldpdu;
    try {
      const decoded = decodeLldpdu(octets);
      lldpdu = decoded.lldpdu;
      for (const defect of decoded.defects) for (const counter of defect.counters) this.counters[counter]++;
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      const counters =
        error instanceof LldpduError ? error.counters : (['statsFramesDiscardedTotal'] as const);
      for (const counter of counters) this.counters[counter]++;
      return [];
    }
    const key = keyOf(lldpdu, source);
    const known = this.neighbours.get(key);
    if (lldpdu.ttl === 0) return this.#delete(key, 'shutdown LLDPDU');
    const since = known?.since ?? now;
    return this.#update({ key, lldpdu, octets, source, since, expires: now + lldpdu.ttl * SECOND }, known);
  }

  /**
   * Takes up a neighbour that an earlier run of the daemon knew and whose TTL still runs: before the port is enabled, so that
   * the first LLDPDU tells already what follows from it.
   */
  resume(octets: Uint8Array, expires: number, now: number, source?: MacAddress): LldpEffect[] {
    if (expires <= now || !receives(this.#adminStatus)) return [];
    try {
      const { lldpdu } = decodeLldpdu(octets);
      // What has been heard since is newer.
      const key = keyOf(lldpdu, source);
      if (lldpdu.ttl === 0 || this.neighbours.has(key)) return [];
      const ends = Math.min(expires, now + lldpdu.ttl * SECOND);
      return this.#update({ key, lldpdu, octets, source, since: now, expires: ends }, undefined);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return [];
    }
  }

  advance(now: number): LldpEffect[] {
    const effects: LldpEffect[] = [];
    for (const neighbour of [...this.neighbours.values()]) {
      if (now < neighbour.expires) continue;
      this.counters.statsAgeoutsTotal++;
      effects.push(...this.#delete(neighbour.key, 'its TTL ran out'));
    }
    if (now >= this.#tooManyNeighborsUntil) this.#tooManyNeighborsUntil = Number.NEGATIVE_INFINITY;
    // Of a long sleep the last minute is made up for: credit is full by then. The transmission that is due meanwhile is due now.
    const overslept = Math.floor((now - this.#nextTick) / SECOND) - 60;
    if (overslept > 0) {
      this.#nextTick += overslept * SECOND;
      this.#txTTR = Math.max(0, this.#txTTR - overslept);
    }
    while (now >= this.#nextTick) {
      this.#nextTick += SECOND;
      if (this.#txTTR > 0) this.#txTTR--;
      if (this.#txShutdownWhile > 0) this.#txShutdownWhile--;
      this.#txTick = true;
      effects.push(...this.#run());
    }
    effects.push(...this.#run());
    return effects;
  }

  nextDeadline(): number {
    if (this.#newNeighbor && this.#portEnabled && sends(this.#adminStatus)) return Number.NEGATIVE_INFINITY;
    let deadline = this.#nextTick;
    for (const { expires } of this.neighbours.values()) deadline = Math.min(deadline, expires);
    return deadline;
  }

  /** Our last word: a shutdown LLDPDU, then silence until the status is set again. */
  shutdown(): LldpEffect[] {
    return this.setAdminStatus('disabled');
  }

  #run(): LldpEffect[] {
    const effects: LldpEffect[] = [];
    if (!this.#portEnabled) this.rxState = 'LLDP_WAIT_PORT_OPERATIONAL';
    else this.rxState = receives(this.#adminStatus) ? 'RX_WAIT_FOR_FRAME' : 'RX_LLDP_INITIALIZE';
    for (let moved = true; moved; ) {
      moved = this.#stepTimer() || this.#stepTransmit(effects);
    }
    return effects;
  }

  /** Transmit timer machine, lldp.md 4: one transition, true when there was one. */
  #stepTimer(): boolean {
    const transmits = this.#portEnabled && sends(this.#adminStatus);
    if (this.txTimerState === 'TX_TIMER_INITIALIZE') {
      if (!transmits) return false;
      this.#txTick = false;
      this.#txNow = false;
      this.#localChange = false;
      this.#txTTR = 0;
      this.#txFast = 0;
      this.#newNeighbor = false;
      this.#txCredit = this.#timing.txCreditMax;
      this.txTimerState = 'TX_TIMER_IDLE';
      return true;
    }
    if (!transmits) {
      this.txTimerState = 'TX_TIMER_INITIALIZE';
      return true;
    }
    if (this.#localChange) this.#signalTx();
    else if (this.#txTTR === 0) this.#timerExpires();
    else if (this.#newNeighbor) {
      // TX_FAST_START
      this.#newNeighbor = false;
      if (this.#txFast === 0) this.#txFast = this.#timing.txFastInit;
      this.#timerExpires();
    } else if (this.#txTick) {
      // TX_TICK
      this.#txTick = false;
      if (this.#txCredit < this.#timing.txCreditMax) this.#txCredit++;
    } else return false;
    return true;
  }

  /** TX_TIMER_EXPIRES */
  #timerExpires(): void {
    if (this.#txFast > 0) this.#txFast--;
    this.#signalTx();
  }

  /** SIGNAL_TX */
  #signalTx(): void {
    this.#txNow = true;
    this.#localChange = false;
    this.#txTTR = this.#txFast > 0 ? this.#timing.msgFastTx : this.#timing.msgTxInterval;
  }

  /** Transmit machine, lldp.md 5. */
  #stepTransmit(effects: LldpEffect[]): boolean {
    switch (this.txState) {
      case 'TX_LLDP_INITIALIZE':
        if (!this.#portEnabled || !sends(this.#adminStatus)) return false;
        this.txState = 'TX_IDLE';
        return true;
      case 'TX_IDLE':
        if (!sends(this.#adminStatus)) {
          this.txState = 'TX_SHUTDOWN_FRAME';
          this.#txShutdownWhile = this.#timing.reinitDelay;
          this.#transmit(effects, 0);
          return true;
        }
        if (!this.#txNow || this.#txCredit === 0) return false;
        // TX_INFO_FRAME
        this.#transmit(effects, this.txTTL);
        this.#txCredit--;
        this.#txNow = false;
        return true;
      case 'TX_SHUTDOWN_FRAME':
        if (this.#txShutdownWhile > 0) return false;
        this.txState = 'TX_LLDP_INITIALIZE';
        return true;
    }
  }

  #transmit(effects: LldpEffect[], ttl: number): void {
    const { octets, dropped } = encodeLldpdu({ ...this.#local, ttl, others: [] });
    this.counters.lldpduLengthErrors += dropped;
    this.counters.statsFramesOutTotal++;
    effects.push({ kind: 'send', lldpdu: octets });
  }

  #update(neighbour: LldpNeighbour, known: LldpNeighbour | undefined): LldpEffect[] {
    const evicted =
      known === undefined && this.neighbours.size >= NEIGHBOURS_MAX ? this.#evict(neighbour) : [];
    if (evicted === undefined) {
      this.counters.statsFramesDiscardedTotal++;
      this.#tooManyNeighborsUntil = Math.max(this.#tooManyNeighborsUntil, neighbour.expires);
      return [];
    }
    this.neighbours.set(neighbour.key, neighbour);
    if (known === undefined) {
      if (!this.tooManyNeighbors) this.#newNeighbor = true;
      return [...evicted, { kind: 'neighbour', event: 'new', neighbour }];
    }
    const event = sameOctets(known.octets, neighbour.octets) ? 'refreshed' : 'changed';
    return [{ kind: 'neighbour', event, neighbour }];
  }

  /**
   * Room for a neighbour that speaks EVB: at the cost of one that does not, else of the one that has been there longest, if that
   * is a while. What is favoured does not wait for that. undefined: there is none.
   */
  #evict(neighbour: LldpNeighbour): LldpEffect[] | undefined {
    const favoured = this.favoured.includes(neighbour.key);
    if (!favoured && !speaksEvb(neighbour)) return undefined;
    const others = [...this.neighbours.values()].filter(({ key }) => !this.favoured.includes(key));
    const silent = others.find((candidate) => !speaksEvb(candidate));
    const other = silent ?? others.find(({ since }) => favoured || neighbour.since >= since + STAY);
    return other === undefined ? undefined : this.#delete(other.key, 'made room for an EVB peer');
  }

  #delete(key: string, reason: string): LldpEffect[] {
    const neighbour = this.neighbours.get(key);
    if (neighbour === undefined) return [];
    this.neighbours.delete(key);
    return [{ kind: 'neighbourGone', neighbour, reason }];
  }

  /** rxInitializeLLDP */
  #initializeRx(reason: string): LldpEffect[] {
    this.#tooManyNeighborsUntil = Number.NEGATIVE_INFINITY;
    return [...this.neighbours.keys()].flatMap((key) => this.#delete(key, reason));
  }
}

function sends(status: AdminStatus): boolean {
  return status === 'enabledRxTx' || status === 'enabledTxOnly';
}

function receives(status: AdminStatus): boolean {
  return status === 'enabledRxTx' || status === 'enabledRxOnly';
}

function keyOf(lldpdu: Lldpdu, source: MacAddress | undefined): string {
  return `${msap(lldpdu)} ${source}`;
}

function speaksEvb({ lldpdu }: LldpNeighbour): boolean {
  return lldpdu.evb !== undefined || lldpdu.evbDraft !== undefined;
}

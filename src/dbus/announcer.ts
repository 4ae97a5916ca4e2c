/**
 * What everybody is told about the objects. While little happens every step is told as it happens. When more happens
 * than `ALLOWANCE` in a window, or than the bus takes, an object waits, once however often it changes, and what is
 * told in the end is the difference between what was told last and what is so then: nothing of an object that came
 * and went in between. So neither the time spent here nor what waits grows with the number of events.
 */

import type { Connection } from './connection.ts';
import { type ExportedObject, same } from './exported-object.ts';
import { inFull } from './in-full.ts';
import { type Encoded, SIGNAL, type Value } from './wire.ts';

export const PROPERTIES = 'org.freedesktop.DBus.Properties';
export const OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager';

export interface Timers {
  now(): number;
  setTimeout(run: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

export interface Signal {
  path: string;
  interface: string;
  member: string;
  signature: string;
  body: readonly Value[];
  destination?: string;
}

/** Milliseconds between two announcements of properties that change often. */
const OFTEN = 1000;
/** Signals told in one window; the first of them at once. */
const ALLOWANCE = 64;
/** Milliseconds. */
const WINDOW = 16;
/** Milliseconds of one turn of the event loop that telling may take. */
const PORTION = 5;
/** Octets that the bus has not taken yet, beyond which objects wait here rather than signals there. */
const MAX_BACKLOG = 256 * 1024;

/** Something about one object that everybody is to be told. */
interface News {
  /** Interfaces of the object that was there before and that somebody knows of, when it has been removed since. */
  removed: readonly string[] | null;
  /** The newest signal about it. */
  signal: Signal | null;
}

export interface AnnouncerOptions {
  root: string;
  objects: ReadonlyMap<string, ExportedObject>;
  timers: Timers;
  complain(text: string): void;
}

export class Announcer {
  private readonly root: string;
  private readonly objects: ReadonlyMap<string, ExportedObject>;
  private readonly timers: Timers;
  private readonly complain: (text: string) => void;
  private connection: Connection | null = null;
  /** By the object's path; replies that must not overtake the news before them are in between, under numbers. */
  private readonly waiting = new Map<string | number, News | (() => void)>();
  private replies = 0;
  private readonly oftenWaiting = new Set<ExportedObject>();
  private oftenTimer: unknown = null;
  private allowance = ALLOWANCE;
  private window: NodeJS.Timeout | null = null;
  private soon: NodeJS.Immediate | null = null;
  private draining = false;
  private held = false;

  constructor(options: AnnouncerOptions) {
    this.root = options.root;
    this.objects = options.objects;
    this.timers = options.timers;
    this.complain = options.complain;
  }

  /** From now on signals go to this connection, or nowhere. */
  attach(connection: Connection | null): void {
    this.connection = connection;
    if (this.waiting.size > 0) this.tellSoon();
  }

  /** How many objects and replies wait. */
  get backlog(): number {
    return this.waiting.size;
  }

  added(object: ExportedObject): void {
    this.news(object.path);
    this.tellNowOrSoon(object.path);
  }

  /** `object` is not among the objects any more. */
  removed(object: ExportedObject): void {
    this.oftenWaiting.delete(object);
    const { path } = object;
    const news = this.news(path);
    if (object.told || object.seen) news.removed = object.interfaceNames;
    if (news.removed === null) this.waiting.delete(path);
    else this.tellNowOrSoon(path);
  }

  /** Told when this turn of the event loop is over, or later. */
  changed(path: string): void {
    this.news(path);
    this.tellSoon();
  }

  /** A signal about the object at `about`, of which the newest is enough when many wait. */
  emit(signal: Signal, about: string): void {
    const quiet = this.isQuiet && !this.hasOldNews(about);
    if (quiet) {
      this.spend();
      this.send(signal);
      return;
    }
    // Whose end nobody is to be told did not happen.
    if (!this.waiting.has(about) && !this.objects.has(about)) return;
    this.news(about).signal = signal;
    this.tellSoon();
  }

  /** `run` when everything that happened until now has been told. */
  after(run: () => void): void {
    this.tell();
    if (this.waiting.size === 0) run();
    else this.waiting.set(this.replies++, run);
  }

  /** Whether somebody who reads the object now may read what has not been told. */
  isWaiting(path: string): boolean {
    return this.waiting.has(path);
  }

  /** Nothing is told until `release`: an answer that is being written must not become older than what was told. */
  hold(): void {
    this.held = true;
  }

  release(): void {
    this.held = false;
    if (this.waiting.size > 0) this.tellSoon();
  }

  close(): void {
    this.connection = null;
    this.waiting.clear();
    if (this.soon !== null) clearImmediate(this.soon);
    if (this.window !== null) clearTimeout(this.window);
    this.timers.clearTimeout(this.oftenTimer);
    this.soon = null;
    this.window = null;
    this.oftenTimer = null;
  }

  send(signal: Signal): void {
    if (this.connection === null || !this.connection.isOpen) return;
    try {
      this.connection.send({ type: SIGNAL, flags: 0, ...signal });
    } catch (error) {
      const why = inFull(error).split('\n')[0];
      this.complain(`D-Bus signal ${signal.interface}.${signal.member} of ${signal.path} not sent: ${why}`);
    }
  }

  private get isQuiet(): boolean {
    return !this.held && this.allowance > 0 && (this.connection?.backlog ?? 0) <= MAX_BACKLOG;
  }

  /** Whether the object itself has not been told yet: a signal about it must not come before it. */
  private hasOldNews(path: string): boolean {
    const news = this.waiting.get(path) as News | undefined;
    if (news === undefined) return false;
    return news.removed !== null || news.signal !== null || this.objects.get(path)?.told === false;
  }

  private news(path: string): News {
    let news = this.waiting.get(path) as News | undefined;
    if (news === undefined) {
      news = { removed: null, signal: null };
      this.waiting.set(path, news);
    }
    return news;
  }

  private tellNowOrSoon(path: string): void {
    if (!this.isQuiet) {
      this.tellSoon();
      return;
    }
    const news = this.waiting.get(path) as News;
    this.waiting.delete(path);
    this.tellObject(path, news);
  }

  private tellSoon(): void {
    if (this.held || this.draining || (this.allowance <= 0 && this.window !== null)) return;
    this.soon ??= setImmediate(() => {
      this.soon = null;
      this.tell();
    });
  }

  /** As much as may be told in one go. */
  private tell(): void {
    if (this.held || this.waiting.size === 0) return;
    const start = performance.now();
    for (const [key, item] of this.waiting) {
      if ((this.connection?.backlog ?? 0) > MAX_BACKLOG) {
        this.tellWhenDrained();
        return;
      }
      if (performance.now() - start > PORTION) this.allowance = 0;
      if (this.allowance <= 0) {
        this.openWindow();
        return;
      }
      this.waiting.delete(key);
      if (typeof item === 'function') item();
      else this.tellObject(key as string, item);
    }
  }

  private tellWhenDrained(): void {
    if (this.draining) return;
    this.draining = true;
    void this.connection?.drained().then(() => {
      this.draining = false;
      if (this.waiting.size > 0) this.tellSoon();
    });
  }

  private spend(): void {
    this.allowance--;
    this.openWindow();
  }

  private openWindow(): void {
    this.window ??= setTimeout(() => {
      this.window = null;
      this.allowance = ALLOWANCE;
      this.tell();
    }, WINDOW).unref();
  }

  private tellObject(path: string, { removed, signal }: News): void {
    const object = this.objects.get(path);
    if (removed !== null) {
      if (object === undefined && signal !== null) {
        this.spend();
        this.send(signal);
      }
      this.spend();
      this.tellManager('InterfacesRemoved', 'oas', [path, removed]);
    }
    if (object === undefined) return;
    const isNew = !object.told;
    if (isNew && path !== this.root) {
      this.spend();
      const interfaces = object.readInterfaces();
      this.tellManager('InterfacesAdded', 'oa{sa{sv}}', [path, interfaces]);
    }
    if (isNew) object.markTold();
    if (signal !== null) {
      this.spend();
      this.send(signal);
    }
    if (!isNew) this.tellProperties(object);
  }

  private tellManager(member: string, signature: string, body: readonly Value[]): void {
    this.send({ path: this.root, interface: OBJECT_MANAGER, member, signature, body });
  }

  private tellProperties(object: ExportedObject): void {
    const now = this.timers.now();
    const oftenMay = now >= object.oftenDue;
    for (const [interfaceName, { properties }] of object.interfaces) {
      const changed: Encoded[] = [];
      for (const state of properties.values()) {
        const { changes } = state.property;
        if (changes === 'never') continue;
        const entry = object.readProperty(state);
        if (entry === null || same(entry, state.announced)) continue;
        if (changes === 'often') {
          if (!oftenMay) {
            this.oftenWaiting.add(object);
            continue;
          }
          object.oftenDue = now + OFTEN;
        }
        state.announced = entry;
        changed.push(entry);
      }
      if (changed.length === 0) continue;
      this.spend();
      this.send({
        path: object.path,
        interface: PROPERTIES,
        member: 'PropertiesChanged',
        signature: 'sa{sv}as',
        body: [interfaceName, changed, []],
      });
    }
    this.armOften(now);
  }

  private armOften(now: number): void {
    if (this.oftenTimer !== null || this.oftenWaiting.size === 0) return;
    let due = Number.POSITIVE_INFINITY;
    for (const object of this.oftenWaiting) due = Math.min(due, object.oftenDue);
    this.oftenTimer = this.timers.setTimeout(
      () => {
        this.oftenTimer = null;
        const then = this.timers.now();
        for (const object of [...this.oftenWaiting]) {
          if (then < object.oftenDue) continue;
          this.oftenWaiting.delete(object);
          this.changed(object.path);
        }
        this.armOften(then);
      },
      Math.max(0, due - now),
    );
  }
}

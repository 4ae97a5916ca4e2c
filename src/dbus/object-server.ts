/**
 * Objects on a bus, described by tables, with the standard interfaces (D-Bus specification, "Standard Interfaces"):
 * Peer, Introspectable, Properties, and ObjectManager at the root. Nothing that a caller sends ends the process: a
 * handler that throws becomes an error reply.
 */

import { readFile } from 'node:fs/promises';
import { inspect } from 'node:util';

import { BusError, CallError, type Connection } from './connection.ts';
import {
  type Encoded,
  type Envelope,
  ERROR,
  encodeEntry,
  encodeProperty,
  METHOD_RETURN,
  NO_REPLY_EXPECTED,
  SIGNAL,
  type Value,
  Variant,
  WireError,
} from './wire.ts';

/** Argument names with their signatures, in order. */
export type Arguments = Readonly<Record<string, string>>;

export interface Method {
  in: Arguments;
  out: Arguments;
  /** Only for callers that `authorize` lets pass. */
  privileged?: boolean;
  /** `sender` is the caller's unique name. What is thrown as CallError reaches the caller as it is. */
  call(args: Value[], sender: string): readonly Value[] | Promise<readonly Value[]>;
}

export interface Property {
  type: string;
  /** `often`: announced at most once a second, and read afresh for every caller. */
  changes: 'never' | 'seldom' | 'often';
  get(): Value;
}

export interface Interface {
  name: string;
  methods?: Readonly<Record<string, Method>>;
  properties?: Readonly<Record<string, Property>>;
  signals?: Readonly<Record<string, Arguments>>;
}

export interface Log {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

/** Milliseconds; the default is the process's own clock, with timers that do not keep it alive. */
export interface Timers {
  now(): number;
  setTimeout(run: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

export const processTimers: Timers = {
  now: () => performance.now(),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds).unref(),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

const STANDARD = 'org.freedesktop.DBus.Error.';
const OFTEN = 1000;
/** Octets; a call of ours has a few hundred, and reading millions would hold up the protocols' timers. */
const MAX_CALL_BODY = 1024 * 1024;

interface PropertyState {
  property: Property;
  /** As an entry of a{sv}; null when it must be read again. */
  encoded: Encoded | null;
  /** What was last announced. */
  announced: Encoded | null;
}

interface Exported {
  path: string;
  interfaces: Map<string, { table: Interface; properties: Map<string, PropertyState> }>;
  /** As an entry of a{oa{sa{sv}}}; null when something of it must be read again. */
  entry: Encoded | null;
  /** When the properties that change often may be announced again. */
  oftenDue: number;
}

interface Node {
  children: Map<string, Node>;
  exported: Exported | null;
}

export interface ObjectServerOptions {
  /** Where ObjectManager is. */
  root: string;
  log: Log;
  /** Rejects with CallError when this caller may not use a privileged method. */
  authorize?(sender: string, member: string, connection: Connection): Promise<void>;
  timers?: Timers;
}

export class ObjectServer {
  private readonly root: string;
  private readonly log: Log;
  private readonly authorize: ObjectServerOptions['authorize'];
  private readonly timers: Timers;
  private readonly tree: Node = { children: new Map(), exported: null };
  private readonly objects = new Map<string, Exported>();
  private readonly standard: Map<string, Interface>;
  private connection: Connection | null = null;
  private readonly dirty = new Set<Exported>();
  private readonly oftenDirty = new Set<Exported>();
  private lastTurn: Promise<void> = Promise.resolve();
  private flushing: NodeJS.Immediate | null = null;
  private oftenTimer: unknown = null;

  constructor(options: ObjectServerOptions) {
    this.root = options.root;
    this.log = options.log;
    this.authorize = options.authorize;
    this.timers = options.timers ?? processTimers;
    this.standard = new Map(this.standardInterfaces().map((table) => [table.name, table]));
  }

  /** From now on signals go to this connection, or nowhere. */
  attach(connection: Connection | null): void {
    this.connection = connection;
  }

  /** Exports an object, or replaces the one at this path. */
  add(path: string, interfaces: readonly Interface[]): void {
    if (this.objects.has(path)) this.remove(path);
    const exported: Exported = { path, interfaces: new Map(), entry: null, oftenDue: 0 };
    for (const table of interfaces) {
      const properties = new Map<string, PropertyState>();
      for (const [name, property] of Object.entries(table.properties ?? {})) {
        properties.set(name, { property, encoded: null, announced: null });
      }
      exported.interfaces.set(table.name, { table, properties });
    }
    this.objects.set(path, exported);
    let node = this.tree;
    for (const label of labels(path)) {
      let child = node.children.get(label);
      if (child === undefined) {
        child = { children: new Map(), exported: null };
        node.children.set(label, child);
      }
      node = child;
    }
    node.exported = exported;
    const entries = this.readObject(exported);
    for (const { properties } of exported.interfaces.values()) {
      for (const state of properties.values()) state.announced = state.encoded;
    }
    if (path !== this.root) {
      this.broadcast(this.root, OBJECT_MANAGER, 'InterfacesAdded', 'oa{sa{sv}}', [path, entries]);
    }
  }

  remove(path: string): void {
    const exported = this.objects.get(path);
    if (exported === undefined) return;
    this.objects.delete(path);
    this.dirty.delete(exported);
    this.oftenDirty.delete(exported);
    this.prune(this.tree, labels(path));
    this.broadcast(this.root, OBJECT_MANAGER, 'InterfacesRemoved', 'oas', [
      path,
      [...exported.interfaces.keys()],
    ]);
  }

  has(path: string): boolean {
    return this.objects.has(path);
  }

  /** Properties of this object may have changed; PropertiesChanged follows when this turn of the event loop is over. */
  changed(path: string): void {
    const exported = this.objects.get(path);
    if (exported === undefined) return;
    this.dirty.add(exported);
    exported.entry = null;
    for (const { properties } of exported.interfaces.values()) {
      for (const state of properties.values()) {
        if (state.property.changes !== 'never') state.encoded = null;
      }
    }
    this.flushing ??= setImmediate(() => this.flush());
  }

  /** To everybody, or to one unique name. The signal must be in the object's tables. */
  emit(
    path: string,
    interfaceName: string,
    member: string,
    args: readonly Value[],
    destination?: string,
  ): void {
    const signal = this.objects.get(path)?.interfaces.get(interfaceName)?.table.signals?.[member];
    if (signal === undefined) throw new Error(`${path} has no signal ${interfaceName}.${member}`);
    this.broadcast(path, interfaceName, member, Object.values(signal).join(''), args, destination);
  }

  close(): void {
    this.attach(null);
    if (this.flushing !== null) clearImmediate(this.flushing);
    this.flushing = null;
    this.timers.clearTimeout(this.oftenTimer);
    this.oftenTimer = null;
  }

  /** Answers a method call that came in on `connection`. Never throws. */
  handle(envelope: Envelope, connection: Connection): void {
    this.answer(envelope, connection)
      .then(({ signature, body }) => {
        if (envelope.flags & NO_REPLY_EXPECTED || !connection.isOpen) return;
        // Who waited for the reply expects to have been told what it changed.
        this.flush();
        connection.send({ type: METHOD_RETURN, ...replyTo(envelope), signature, body });
      })
      .catch((error: unknown) => {
        const { errorName, message } = this.asCallError(error, envelope);
        if (envelope.flags & NO_REPLY_EXPECTED || !connection.isOpen) return;
        const body = [message.replaceAll('\0', ' ')];
        connection.send({ type: ERROR, ...replyTo(envelope), errorName, signature: 's', body });
      })
      .catch((error: unknown) => {
        this.log.warn(`a reply to ${envelope.sender} could not be sent: ${oneLine(error)}`);
      });
  }

  private asCallError(error: unknown, envelope: Envelope): CallError {
    if (error instanceof CallError) return error;
    // The bus went away while it was asked about the caller; that is reported where it is noticed.
    if (error instanceof BusError) return new CallError(`${STANDARD}Disconnected`, error.message);
    const what = `${envelope.interface ?? ''}.${envelope.member} on ${envelope.path}`;
    this.log.error(`D-Bus call ${what} by ${envelope.sender} failed: ${inFull(error)}`);
    if (error instanceof WireError && error.message.includes('longer than')) {
      return new CallError(`${STANDARD}LimitsExceeded`, `${what}: the answer is too long for one message`);
    }
    return new CallError(`${STANDARD}Failed`, `${what}: evbd could not do this; its log says more`);
  }

  private async answer(
    envelope: Envelope,
    connection: Connection,
  ): Promise<{ signature: string; body: readonly Value[] }> {
    const { path = '', member = '', interface: name, sender = '' } = envelope;
    const node = this.find(path);
    const exported = node?.exported ?? null;
    // Peer concerns the process, so it is at every path.
    if (node === null && name !== PEER) throw unknown('Object', `there is no object ${path}`);

    const tables: Interface[] = [];
    for (const { table } of exported?.interfaces.values() ?? []) tables.push(table);
    for (const table of this.standard.values()) {
      if (this.isStandardAt(table.name, path, exported)) tables.push(table);
    }
    if (name !== undefined && !tables.some((table) => table.name === name)) {
      throw unknown('Interface', `${path} has no interface ${name}`);
    }
    const table = tables.find((t) => (name === undefined || t.name === name) && own(t.methods, member));
    const method = own(table?.methods, member);
    if (table === undefined || method === undefined) {
      throw unknown('Method', `${path} has no method ${name === undefined ? '' : `${name}.`}${member}`);
    }

    const wanted = Object.values(method.in).join('');
    if (envelope.signature !== wanted) {
      throw invalid(`${member} takes arguments of signature "${wanted}", not "${envelope.signature}"`);
    }
    if (envelope.bodyLength > MAX_CALL_BODY) {
      const text = `${member}: arguments of ${envelope.bodyLength} octets are more than ${MAX_CALL_BODY}`;
      throw new CallError(`${STANDARD}LimitsExceeded`, text);
    }
    if (method.privileged) await this.authorize?.(sender, member, connection);
    let args: Value[];
    try {
      args = envelope.readBody();
    } catch (error) {
      throw invalid(`${member}: the arguments cannot be read: ${oneLine(error)}`);
    }
    const body = await (this.standard.has(table.name)
      ? this.callStandard(table.name, member, args, path, node, exported)
      : method.call(args, sender));
    return { signature: Object.values(method.out).join(''), body };
  }

  private isStandardAt(name: string, path: string, exported: Exported | null): boolean {
    if (name === OBJECT_MANAGER) return path === this.root;
    if (name === PROPERTIES) return exported !== null;
    return true;
  }

  /** The standard interfaces' tables; `callStandard` does their work, since it needs the object. */
  private standardInterfaces(): Interface[] {
    const call = () => [];
    return [
      {
        name: PEER,
        methods: {
          Ping: { in: {}, out: {}, call },
          GetMachineId: { in: {}, out: { machine_uuid: 's' }, call },
        },
      },
      { name: INTROSPECTABLE, methods: { Introspect: { in: {}, out: { xml_data: 's' }, call } } },
      {
        name: PROPERTIES,
        methods: {
          Get: { in: { interface_name: 's', property_name: 's' }, out: { value: 'v' }, call },
          GetAll: { in: { interface_name: 's' }, out: { properties: 'a{sv}' }, call },
          Set: { in: { interface_name: 's', property_name: 's', value: 'v' }, out: {}, call },
        },
        signals: {
          PropertiesChanged: {
            interface_name: 's',
            changed_properties: 'a{sv}',
            invalidated_properties: 'as',
          },
        },
      },
      {
        name: OBJECT_MANAGER,
        methods: { GetManagedObjects: { in: {}, out: { objects: 'a{oa{sa{sv}}}' }, call } },
        signals: {
          InterfacesAdded: { object_path: 'o', interfaces_and_properties: 'a{sa{sv}}' },
          InterfacesRemoved: { object_path: 'o', interfaces: 'as' },
        },
      },
    ];
  }

  private async callStandard(
    name: string,
    member: string,
    args: Value[],
    path: string,
    node: Node | null,
    exported: Exported | null,
  ): Promise<Value[]> {
    switch (`${name}.${member}`) {
      case `${PEER}.Ping`:
        return [];
      case `${PEER}.GetMachineId`:
        return machineId();
      case `${INTROSPECTABLE}.Introspect`:
        await this.turn();
        return [this.introspect(path, node!)];
      case `${OBJECT_MANAGER}.GetManagedObjects`: {
        await this.turn();
        const objects = [...this.objects.values()].filter((object) => object.path !== this.root);
        return [objects.map((object) => this.readEntry(object))];
      }
      case `${PROPERTIES}.GetAll`:
        return [this.getAll(exported!, args[0] as string)];
      default:
        return this.getOrSet(exported!, member, args[0] as string, args[1] as string);
    }
  }

  private getOrSet(exported: Exported, member: string, interfaceName: string, name: string): Value[] {
    const interfaces = this.interfacesNamed(exported, interfaceName);
    const state = interfaces.map((each) => each.properties.get(name)).find((each) => each !== undefined);
    if (state === undefined) {
      throw unknown('Property', `${exported.path} has no property ${interfaceName}.${name}`);
    }
    if (member === 'Set') {
      throw new CallError(
        `${STANDARD}PropertyReadOnly`,
        `property ${name} of ${exported.path} can only be read`,
      );
    }
    return [new Variant(state.property.type, state.property.get())];
  }

  private getAll(exported: Exported, interfaceName: string): Encoded[] {
    return this.interfacesNamed(exported, interfaceName).flatMap((each) =>
      this.readProperties(each.properties),
    );
  }

  /** An empty name stands for every interface (D-Bus specification, Properties). */
  private interfacesNamed(exported: Exported, name: string) {
    if (name === '') return [...exported.interfaces.values()];
    const found = exported.interfaces.get(name);
    if (found !== undefined) return [found];
    if (this.standard.has(name) && this.isStandardAt(name, exported.path, exported)) return [];
    throw unknown('Interface', `${exported.path} has no interface ${name}`);
  }

  /**
   * Resolves in a turn of the event loop of its own, when the bus has taken what was sent before: answers that grow with
   * the number of objects must not hold up the daemon however many are asked for.
   */
  private turn(): Promise<void> {
    this.lastTurn = this.lastTurn.then(async () => {
      await this.connection?.drained();
      await new Promise((resolve) => setImmediate(resolve));
    });
    return this.lastTurn;
  }

  private readEntry(exported: Exported): Encoded {
    if (exported.entry !== null) return exported.entry;
    const entry = encodeEntry('{oa{sa{sv}}}', exported.path, this.readObject(exported));
    const states = [...exported.interfaces.values()].flatMap(({ properties }) => [...properties.values()]);
    const lasts = states.every(({ property, encoded }) => property.changes !== 'often' && encoded !== null);
    if (lasts) exported.entry = entry;
    return entry;
  }

  /** As a{sa{sv}}. */
  private readObject(exported: Exported): Value[] {
    return [...exported.interfaces].map(([name, { properties }]) => [name, this.readProperties(properties)]);
  }

  private readProperties(properties: Map<string, PropertyState>): Encoded[] {
    const entries: Encoded[] = [];
    for (const [name, state] of properties) {
      const entry = this.readProperty(name, state);
      if (entry !== null) entries.push(entry);
    }
    return entries;
  }

  private readProperty(name: string, state: PropertyState): Encoded | null {
    if (state.encoded === null || state.property.changes === 'often') {
      try {
        state.encoded = encodeProperty(name, state.property.type, state.property.get());
      } catch (error) {
        // One bad value must not hide the others.
        this.log.error(`D-Bus property ${name} could not be read: ${inFull(error)}`);
        return null;
      }
    }
    return state.encoded;
  }

  private flush(): void {
    if (this.flushing !== null) clearImmediate(this.flushing);
    this.flushing = null;
    if (this.dirty.size === 0) return;
    const now = this.timers.now();
    for (const exported of this.dirty) this.announce(exported, now);
    this.dirty.clear();
    this.armOften(now);
  }

  private announce(exported: Exported, now: number): void {
    const oftenMay = now >= exported.oftenDue;
    for (const [interfaceName, { properties }] of exported.interfaces) {
      const changed: Encoded[] = [];
      for (const [name, state] of properties) {
        const { changes } = state.property;
        if (changes === 'never') continue;
        const entry = this.readProperty(name, state);
        if (entry === null || same(entry, state.announced)) continue;
        if (changes === 'often') {
          if (!oftenMay) {
            this.oftenDirty.add(exported);
            continue;
          }
          exported.oftenDue = now + OFTEN;
        }
        state.announced = entry;
        changed.push(entry);
      }
      if (changed.length > 0) {
        this.broadcast(exported.path, PROPERTIES, 'PropertiesChanged', 'sa{sv}as', [
          interfaceName,
          changed,
          [],
        ]);
      }
    }
  }

  private armOften(now: number): void {
    if (this.oftenTimer !== null || this.oftenDirty.size === 0) return;
    const due = Math.min(...[...this.oftenDirty].map((exported) => exported.oftenDue));
    this.oftenTimer = this.timers.setTimeout(
      () => {
        this.oftenTimer = null;
        const then = this.timers.now();
        for (const exported of [...this.oftenDirty]) {
          if (then < exported.oftenDue) continue;
          this.oftenDirty.delete(exported);
          this.announce(exported, then);
        }
        this.armOften(then);
      },
      Math.max(0, due - now),
    );
  }

  private broadcast(
    path: string,
    interfaceName: string,
    member: string,
    signature: string,
    body: readonly Value[],
    destination?: string,
  ): void {
    if (this.connection === null || !this.connection.isOpen) return;
    try {
      this.connection.send({
        type: SIGNAL,
        flags: 0,
        path,
        interface: interfaceName,
        member,
        signature,
        body,
        ...(destination === undefined ? {} : { destination }),
      });
    } catch (error) {
      this.log.error(
        `D-Bus signal ${interfaceName}.${member} of ${path} could not be sent: ${oneLine(error)}`,
      );
    }
  }

  private find(path: string): Node | null {
    let node: Node | undefined = this.tree;
    for (const label of labels(path)) {
      node = node.children.get(label);
      if (node === undefined) return null;
    }
    return node;
  }

  /** Takes the object away, and the nodes that led only to it. */
  private prune(node: Node, path: readonly string[]): void {
    const [label, ...rest] = path;
    if (label === undefined) {
      node.exported = null;
      return;
    }
    const child = node.children.get(label);
    if (child === undefined) return;
    this.prune(child, rest);
    if (child.exported === null && child.children.size === 0) node.children.delete(label);
  }

  private introspect(path: string, node: Node): string {
    const lines = [DOCTYPE, '<node>'];
    for (const table of this.standard.values()) {
      if (this.isStandardAt(table.name, path, node.exported)) lines.push(...describeInterface(table));
    }
    for (const { table } of node.exported?.interfaces.values() ?? []) lines.push(...describeInterface(table));
    for (const label of node.children.keys()) lines.push(`  <node name="${label}"/>`);
    lines.push('</node>', '');
    return lines.join('\n');
  }
}

const PEER = 'org.freedesktop.DBus.Peer';
const INTROSPECTABLE = 'org.freedesktop.DBus.Introspectable';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager';

const DOCTYPE = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">`;

function describeInterface(table: Interface): string[] {
  const lines = [`  <interface name="${table.name}">`];
  for (const [name, method] of Object.entries(table.methods ?? {})) {
    lines.push(`    <method name="${name}">`);
    for (const [direction, args] of [['in', method.in] as const, ['out', method.out] as const]) {
      for (const [arg, type] of Object.entries(args)) {
        lines.push(`      <arg name="${arg}" type="${type}" direction="${direction}"/>`);
      }
    }
    lines.push('    </method>');
  }
  for (const [name, property] of Object.entries(table.properties ?? {})) {
    const emits = property.changes === 'never' ? 'const' : 'true';
    lines.push(
      `    <property name="${name}" type="${property.type}" access="read">`,
      `      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="${emits}"/>`,
      '    </property>',
    );
  }
  for (const [name, args] of Object.entries(table.signals ?? {})) {
    lines.push(`    <signal name="${name}">`);
    for (const [arg, type] of Object.entries(args)) lines.push(`      <arg name="${arg}" type="${type}"/>`);
    lines.push('    </signal>');
  }
  lines.push('  </interface>');
  return lines;
}

async function machineId(): Promise<Value[]> {
  for (const file of ['/etc/machine-id', '/var/lib/dbus/machine-id']) {
    const id = await readFile(file, 'utf8').catch(() => '');
    if (/^[0-9a-f]{32}\s*$/.test(id)) return [id.trim()];
  }
  throw new CallError(
    `${STANDARD}Failed`,
    'this machine has no /etc/machine-id; systemd-machine-id-setup writes one',
  );
}

/** Not what an object inherits: `constructor` is no member of ours. */
function own<T>(table: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return table !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;
}

function labels(path: string): string[] {
  return path.split('/').filter((label) => label !== '');
}

function same(a: Encoded, b: Encoded | null): boolean {
  return b !== null && Buffer.compare(a.octets, b.octets) === 0;
}

function replyTo(envelope: Envelope) {
  return {
    flags: NO_REPLY_EXPECTED,
    replySerial: envelope.serial,
    ...(envelope.sender === undefined ? {} : { destination: envelope.sender }),
  };
}

function unknown(what: 'Object' | 'Interface' | 'Method' | 'Property', message: string): CallError {
  return new CallError(`${STANDARD}Unknown${what}`, message);
}

function invalid(message: string): CallError {
  return new CallError(`${STANDARD}InvalidArgs`, message);
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : inFull(error)).split('\n')[0]!;
}

/** For a log. What was thrown may be anything, also what cannot be made a string. */
export function inFull(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : inspect(error);
}

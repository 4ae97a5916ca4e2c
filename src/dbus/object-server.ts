/**
 * Objects on a bus, described by tables, with the standard interfaces (D-Bus specification, "Standard Interfaces"):
 * Peer, Introspectable, Properties, and ObjectManager at the root. Nothing that a caller sends ends the process: a
 * handler that throws becomes an error reply.
 */

import { readFile } from 'node:fs/promises';

import { Announcer, OBJECT_MANAGER, PROPERTIES, type Timers } from './announcer.ts';
import { CallQueue } from './call-queue.ts';
import { BusError, CallError, type Connection } from './connection.ts';
import { type ExportedInterface, ExportedObject, type Interface, type Method } from './exported-object.ts';
import { inFull } from './in-full.ts';
import {
  type Encoded,
  type EncodedBody,
  type Envelope,
  ERROR,
  encodeBody,
  METHOD_RETURN,
  NO_REPLY_EXPECTED,
  type Value,
  Variant,
  WireError,
} from './wire.ts';

export type { Timers } from './announcer.ts';
export type { Arguments, Interface, Method, Property } from './exported-object.ts';

export interface Log {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

/** The process's own clock, with timers that do not keep it alive. */
export const processTimers: Timers = {
  now: () => performance.now(),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds).unref(),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

const STANDARD = 'org.freedesktop.DBus.Error.';
/** Octets; a call of ours has a few hundred, and reading millions would hold up the protocols' timers. */
const MAX_CALL_BODY = 1024 * 1024;
/** Octets; the arguments of a read are names. */
const MAX_READ_BODY = 4096;
/** Of one caller. A bus lets 128 calls wait for their replies unless it is told otherwise, and clients count on it. */
const MAX_READS = 128;
const MAX_CHANGES = 1024;
/** Milliseconds of one turn of the event loop that answering reads may take. */
const PORTION = 5;
/** Octets of answers that may be under way to the bus when another is begun. */
const MAX_UNDER_WAY = 4 * 1024 * 1024;

/** Who is to be answered, and what they asked. */
type Caller = Pick<Envelope, 'flags' | 'serial' | 'sender' | 'path' | 'interface' | 'member'>;

/** A call that changes nothing, with what its answer needs; the octets it came in are let go. */
interface Read extends Caller {
  path: string;
  interface: string;
  member: string;
  connection: Connection;
  /** Of the answer. */
  signature: string;
  args: readonly Value[];
}

interface Node {
  children: Map<string, Node>;
  exported: ExportedObject | null;
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
  private readonly tree: Node = { children: new Map(), exported: null };
  private readonly objects = new Map<string, ExportedObject>();
  private readonly standard: Map<string, Interface>;
  private readonly announcer: Announcer;
  private connection: Connection | null = null;
  private readonly reads = new CallQueue<Read>(MAX_READS);
  private reading = false;
  /** The answer to GetManagedObjects, for those who are answered in this turn. */
  private everything: EncodedBody | null = null;
  /** How many calls of each sender are under way that may change something. */
  private readonly changes = new Map<string, number>();

  constructor(options: ObjectServerOptions) {
    this.root = options.root;
    this.log = options.log;
    this.authorize = options.authorize;
    this.standard = new Map(this.standardInterfaces().map((table) => [table.name, table]));
    this.announcer = new Announcer({
      root: this.root,
      objects: this.objects,
      timers: options.timers ?? processTimers,
      complain: (text) => this.log.error(text),
    });
  }

  /** From now on signals go to this connection, or nowhere. */
  attach(connection: Connection | null): void {
    this.connection = connection;
    this.announcer.attach(connection);
    if (connection === null) this.reads.clear();
  }

  /** Exports an object, or replaces the one at this path. */
  add(path: string, interfaces: readonly Interface[]): void {
    if (this.objects.has(path)) this.remove(path);
    const exported = new ExportedObject(path, interfaces, (text) => this.log.error(text));
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
    this.announcer.added(exported);
  }

  remove(path: string): void {
    const exported = this.objects.get(path);
    if (exported === undefined) return;
    this.objects.delete(path);
    this.prune(this.tree, labels(path));
    this.announcer.removed(exported);
  }

  has(path: string): boolean {
    return this.objects.has(path);
  }

  /** Properties of this object may have changed; PropertiesChanged follows when this turn of the event loop is over. */
  changed(path: string): void {
    const exported = this.objects.get(path);
    if (exported === undefined) return;
    exported.invalidate();
    this.announcer.changed(path);
  }

  /**
   * To everybody, or to one unique name. The signal must be in the object's tables. `about`: the object that it is
   * about; when much is to be told, the newest signal about it is, or none when nobody ever knew of the object. Without
   * `about` it goes out at once.
   */
  emit(
    path: string,
    interfaceName: string,
    member: string,
    args: readonly Value[],
    { destination, about }: { destination?: string; about?: string } = {},
  ): void {
    const declared = this.objects.get(path)?.table(interfaceName)?.signals?.[member];
    if (declared === undefined) throw new Error(`${path} has no signal ${interfaceName}.${member}`);
    const signal = {
      path,
      interface: interfaceName,
      member,
      signature: Object.values(declared).join(''),
      body: args,
      ...(destination === undefined ? {} : { destination }),
    };
    if (about === undefined) this.announcer.send(signal);
    else this.announcer.emit(signal, about);
  }

  close(): void {
    this.connection = null;
    this.announcer.close();
    this.reads.clear();
  }

  /** Answers a method call that came in on `connection`. Never throws. */
  handle(envelope: Envelope, connection: Connection): void {
    const { path = '', member = '', interface: name, sender = '' } = envelope;
    const mayChange = this.objects.get(path)?.tableWithMethod(member, name) !== undefined;
    // The bus lets such calls come without limit; one that only reads is nothing when nobody hears the answer.
    if (!mayChange && envelope.flags & NO_REPLY_EXPECTED) return;
    if (mayChange) {
      void this.change(envelope, connection);
      return;
    }
    try {
      const { table, method } = this.resolve(envelope);
      const args = readArguments(envelope, method, MAX_READ_BODY);
      const { flags, serial } = envelope;
      const signature = Object.values(method.out).join('');
      const read = {
        flags,
        serial,
        sender,
        path,
        interface: table.name,
        member,
        connection,
        signature,
        args,
      };
      if (this.reads.push(sender, read)) void this.serveReads();
      else this.refuse(envelope, connection, `${MAX_READS} reads of yours wait already`);
    } catch (error) {
      this.fail(envelope, connection, error);
    }
  }

  private async change(envelope: Envelope, connection: Connection): Promise<void> {
    const { member = '', sender = '' } = envelope;
    const underWay = this.changes.get(sender) ?? 0;
    if (underWay >= MAX_CHANGES) {
      this.refuse(envelope, connection, `${MAX_CHANGES} calls of yours wait already`);
      return;
    }
    this.changes.set(sender, underWay + 1);
    try {
      const { method } = this.resolve(envelope);
      checkArguments(envelope, method, MAX_CALL_BODY);
      if (method.privileged) await this.authorize?.(sender, member, connection);
      const body = await method.call(readArguments(envelope, method, MAX_CALL_BODY), sender);
      const signature = Object.values(method.out).join('');
      // Who waited for the reply expects to have been told what it changed.
      this.announcer.after(() => this.reply(envelope, connection, signature, body));
    } catch (error) {
      this.fail(envelope, connection, error);
    } finally {
      const left = this.changes.get(sender)! - 1;
      if (left > 0) this.changes.set(sender, left);
      else this.changes.delete(sender);
    }
  }

  private reply(
    to: Caller,
    connection: Connection,
    signature: string,
    body: readonly Value[] | EncodedBody,
  ): void {
    if (to.flags & NO_REPLY_EXPECTED || !connection.isOpen) return;
    try {
      connection.send({ type: METHOD_RETURN, ...replyTo(to), signature, body });
    } catch (error) {
      this.fail(to, connection, error);
    }
  }

  private fail(to: Caller, connection: Connection, error: unknown): void {
    const { errorName, message } = this.asCallError(error, to);
    this.sendError(to, connection, errorName, message.replaceAll('\0', ' '));
  }

  private refuse(to: Caller, connection: Connection, why: string): void {
    this.sendError(to, connection, `${STANDARD}LimitsExceeded`, why);
  }

  private sendError(to: Caller, connection: Connection, errorName: string, message: string): void {
    if (to.flags & NO_REPLY_EXPECTED || !connection.isOpen) return;
    try {
      connection.send({ type: ERROR, ...replyTo(to), errorName, signature: 's', body: [message] });
    } catch (error) {
      this.log.warn(`a reply to ${to.sender} could not be sent: ${oneLine(error)}`);
    }
  }

  private asCallError(error: unknown, call: Caller): CallError {
    if (error instanceof CallError) return error;
    // The bus went away while it was asked about the caller; that is reported where it is noticed.
    if (error instanceof BusError) return new CallError(`${STANDARD}Disconnected`, error.message);
    const what = `${call.interface ?? ''}.${call.member} on ${call.path}`;
    this.log.error(`D-Bus call ${what} by ${call.sender} failed: ${inFull(error)}`);
    if (error instanceof WireError && error.message.includes('longer than')) {
      return new CallError(`${STANDARD}LimitsExceeded`, `${what}: the answer is too long for one message`);
    }
    return new CallError(`${STANDARD}Failed`, `${what}: evbd could not do this; its log says more`);
  }

  /** Throws CallError when there is no such method. */
  private resolve({ path = '', member = '', interface: name }: Envelope): {
    table: Interface;
    method: Method;
  } {
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
    return { table, method };
  }

  private isStandardAt(name: string, path: string, exported: ExportedObject | null): boolean {
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

  /**
   * One read of every caller that waits in each turn of the event loop, when the bus has taken what was sent before:
   * answers that grow with the number of objects must not hold up the daemon however many are asked for.
   */
  private async serveReads(): Promise<void> {
    if (this.reading) return;
    this.reading = true;
    while (this.reads.senders > 0) {
      await this.connection?.drained();
      await turn();
      const start = performance.now();
      // The same octets for all who ask for everything in this round.
      this.everything = null;
      for (let left = this.reads.senders; left > 0; left--) {
        const read = this.reads.shift();
        if (read === undefined) break;
        await this.serveRead(read);
        if (read.connection.backlog > MAX_UNDER_WAY || performance.now() - start > PORTION) break;
      }
      this.everything = null;
      this.announcer.release();
      const took = performance.now() - start;
      // Who asks without end must not keep the others from being told.
      if (took > 2 * PORTION && this.announcer.backlog > 0) await pause(took);
    }
    this.reading = false;
  }

  private async serveRead(read: Read): Promise<void> {
    const { connection, signature } = read;
    if (!connection.isOpen) return;
    try {
      if (read.member === 'GetManagedObjects') {
        this.everything ??= await this.encodeEverything();
        this.reply(read, connection, signature, this.everything);
      } else {
        this.reply(read, connection, signature, await this.read(read));
      }
    } catch (error) {
      this.fail(read, connection, error);
    }
  }

  /**
   * The body of GetManagedObjects. After a storm it takes many turns to write; until it is sent nobody is told anything,
   * so what is out of date in it is told after it.
   */
  private async encodeEverything(): Promise<EncodedBody> {
    this.announcer.hold();
    const entries: Encoded[] = [];
    let start = performance.now();
    for (const object of [...this.objects.values()]) {
      if (object.path === this.root) continue;
      if (performance.now() - start > PORTION) {
        await turn();
        start = performance.now();
      }
      if (this.objects.get(object.path) === object) entries.push(this.readEntry(object));
    }
    return encodeBody('a{oa{sa{sv}}}', [entries]);
  }

  private readEntry(object: ExportedObject): Encoded {
    const wasEncoded = object.isEncoded;
    const entry = object.readEntry();
    if (!wasEncoded || !object.told || this.announcer.isWaiting(object.path)) object.markSeen();
    return entry;
  }

  private async read({ interface: name, member, path, args }: Read): Promise<readonly Value[]> {
    const node = this.find(path);
    switch (`${name}.${member}`) {
      case `${PEER}.Ping`:
        return [];
      case `${PEER}.GetMachineId`:
        return machineId();
      case `${INTROSPECTABLE}.Introspect`:
        if (node === null) throw unknown('Object', `there is no object ${path}`);
        return [this.introspect(path, node)];
      default: {
        // It may have gone while the call waited.
        if (!node?.exported) throw unknown('Object', `there is no object ${path}`);
        if (member === 'GetAll') return [this.getAll(node.exported, args[0] as string)];
        return this.getOrSet(node.exported, member, args[0] as string, args[1] as string);
      }
    }
  }

  private getOrSet(
    exported: ExportedObject,
    member: string,
    interfaceName: string,
    name: string,
  ): readonly Value[] {
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
    const value = new Variant(state.property.type, state.property.get(exported.path));
    if (exported.readProperty(state) !== null) exported.markSeen();
    return [value];
  }

  private getAll(exported: ExportedObject, interfaceName: string): Encoded[] {
    const entries = this.interfacesNamed(exported, interfaceName).flatMap((each) =>
      exported.readProperties(each.properties),
    );
    exported.markSeen();
    return entries;
  }

  /** An empty name stands for every interface (D-Bus specification, Properties). */
  private interfacesNamed(exported: ExportedObject, name: string): ExportedInterface[] {
    if (name === '') return [...exported.interfaces.values()];
    const found = exported.interfaces.get(name);
    if (found !== undefined) return [found];
    if (this.standard.has(name) && this.isStandardAt(name, exported.path, exported)) return [];
    throw unknown('Interface', `${exported.path} has no interface ${name}`);
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

function replyTo({ serial, sender }: Caller) {
  return {
    flags: NO_REPLY_EXPECTED,
    replySerial: serial,
    ...(sender === undefined ? {} : { destination: sender }),
  };
}

/** Throws CallError when the arguments are of another kind than the method's, or too long. */
function checkArguments(envelope: Envelope, method: Method, limit: number): void {
  const { member, signature, bodyLength } = envelope;
  const wanted = Object.values(method.in).join('');
  if (signature !== wanted) {
    throw invalid(`${member} takes arguments of signature "${wanted}", not "${signature}"`);
  }
  if (bodyLength > limit) {
    const text = `${member}: arguments of ${bodyLength} octets are more than ${limit}`;
    throw new CallError(`${STANDARD}LimitsExceeded`, text);
  }
}

/** Throws CallError as `checkArguments`, and when they are malformed. */
function readArguments(envelope: Envelope, method: Method, limit: number): Value[] {
  checkArguments(envelope, method, limit);
  try {
    return envelope.readBody();
  } catch (error) {
    throw invalid(`${envelope.member}: the arguments cannot be read: ${oneLine(error)}`);
  }
}

/** The end of this turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
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

/** One object as its tables describe it, with what of it has been encoded, told to everybody, and read by somebody. */

import { inFull } from './in-full.ts';
import { type Encoded, encodeEntry, encodeProperty, type Value } from './wire.ts';

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
  /** Of the object at this path. */
  get(path: string): Value;
}

/** The same table may serve many objects. */
export interface Interface {
  name: string;
  methods?: Readonly<Record<string, Method>>;
  properties?: Readonly<Record<string, Property>>;
  signals?: Readonly<Record<string, Arguments>>;
}

export interface PropertyState {
  name: string;
  property: Property;
  /** As an entry of a{sv}; null when it must be read again. */
  encoded: Encoded | null;
  /** What everybody was told last; null when somebody may have read something else. */
  announced: Encoded | null;
}

export interface ExportedInterface {
  table: Interface;
  properties: Map<string, PropertyState>;
}

/** Encoding is left until somebody is to be told: of many that come and go, most never are. */
export class ExportedObject {
  readonly path: string;
  /** InterfacesAdded was sent. */
  told = false;
  /** It was in somebody's answer, so its end must be told even when its coming was not. */
  seen = false;
  /** When the properties that change often may be announced again. */
  oftenDue = 0;
  private readonly tables: readonly Interface[];
  private readonly complain: (text: string) => void;
  private built: Map<string, ExportedInterface> | null = null;
  /** As an entry of a{oa{sa{sv}}}; null when something of it must be read again. */
  private entry: Encoded | null = null;

  constructor(path: string, tables: readonly Interface[], complain: (text: string) => void) {
    this.path = path;
    this.tables = tables;
    this.complain = complain;
  }

  get interfaceNames(): string[] {
    return this.tables.map(({ name }) => name);
  }

  get interfaces(): ReadonlyMap<string, ExportedInterface> {
    if (this.built !== null) return this.built;
    this.built = new Map();
    for (const table of this.tables) {
      const properties = new Map<string, PropertyState>();
      for (const [name, property] of Object.entries(table.properties ?? {})) {
        properties.set(name, { name, property, encoded: null, announced: null });
      }
      this.built.set(table.name, { table, properties });
    }
    return this.built;
  }

  table(name: string): Interface | undefined {
    return this.tables.find((table) => table.name === name);
  }

  /** The table with this method, of one interface or of any. */
  tableWithMethod(member: string, interfaceName: string | undefined): Interface | undefined {
    return this.tables.find(
      ({ name, methods }) =>
        (interfaceName === undefined || name === interfaceName) && Object.hasOwn(methods ?? {}, member),
    );
  }

  /** Whether `readEntry` costs nothing. */
  get isEncoded(): boolean {
    return this.entry !== null;
  }

  /** What may have changed is read again when it is needed. */
  invalidate(): void {
    this.entry = null;
    for (const { properties } of this.built?.values() ?? []) {
      for (const state of properties.values()) {
        if (state.property.changes !== 'never') state.encoded = null;
      }
    }
  }

  /** As an entry of a{oa{sa{sv}}}. */
  readEntry(): Encoded {
    if (this.entry !== null) return this.entry;
    const entry = encodeEntry('{oa{sa{sv}}}', this.path, this.readInterfaces());
    let lasts = true;
    for (const { properties } of this.interfaces.values()) {
      for (const { property, encoded } of properties.values()) {
        if (property.changes === 'often' || encoded === null) lasts = false;
      }
    }
    if (lasts) this.entry = entry;
    return entry;
  }

  /** As a{sa{sv}}. */
  readInterfaces(): Value[] {
    return [...this.interfaces].map(([name, { properties }]) => [name, this.readProperties(properties)]);
  }

  /** As a{sv}. */
  readProperties(properties: ReadonlyMap<string, PropertyState>): Encoded[] {
    const entries: Encoded[] = [];
    for (const state of properties.values()) {
      const entry = this.readProperty(state);
      if (entry !== null) entries.push(entry);
    }
    return entries;
  }

  readProperty(state: PropertyState): Encoded | null {
    if (state.encoded === null || state.property.changes === 'often') {
      try {
        state.encoded = encodeProperty(state.name, state.property.type, state.property.get(this.path));
      } catch (error) {
        // One bad value must not hide the others.
        this.complain(`D-Bus property ${state.name} could not be read: ${inFull(error)}`);
        return null;
      }
    }
    return state.encoded;
  }

  /** Everybody is being told all of it. */
  markTold(): void {
    this.told = true;
    for (const { properties } of this.interfaces.values()) {
      for (const state of properties.values()) state.announced = state.encoded;
    }
  }

  /** Somebody read it as it is: a value that everybody was told before is news to them when it comes back. */
  markSeen(): void {
    this.seen = true;
    for (const { properties } of this.built?.values() ?? []) {
      for (const state of properties.values()) {
        if (state.encoded !== null && !same(state.encoded, state.announced)) state.announced = null;
      }
    }
  }
}

export function same(a: Encoded, b: Encoded | null): boolean {
  return a === b || (b !== null && Buffer.compare(a.octets, b.octets) === 0);
}

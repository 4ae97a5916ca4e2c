/** The two rooms of dbus-next 0.10.2 that evbd uses; the package declares types for its top level only. */

declare module 'dbus-next/lib/dbus-buffer.js' {
  /** A bounded reader; `pos` counts from the start of `buffer`, which must start on a multiple of 8 in its message. */
  export default class DBusBuffer {
    constructor(
      buffer: Uint8Array,
      startPos: number,
      endian: number,
      fds: null,
      options: { ayBuffer: boolean },
    );
    pos: number;
    buffer: Uint8Array;
    /** To a multiple of 2 ** power. */
    align(power: number): void;
    readString(length: number): string;
    readInt32(): number;
    readSimpleType(type: string): number | bigint | boolean | string;
  }
}

declare module 'dbus-next/lib/signature.js' {
  export interface SignatureNode {
    type: string;
    child: SignatureNode[];
  }
  const library: { parseSignature(signature: string): SignatureNode[] };
  export default library;
}

import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

const CODES = new Map(Object.entries(constants.errno).map(([code, errno]) => [errno, code]));
// One number with two names: the kernel says EOPNOTSUPP and means an operation, not a socket.
CODES.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');
// Node does not know it: what a request was about has changed meanwhile.
CODES.set(85, 'ERESTART');

const TEXTS: Record<string, string> = {
  EPERM:
    'not permitted; CAP_NET_ADMIN in this network namespace is needed (run as root or through the systemd unit)',
  EOPNOTSUPP: 'operation not supported',
};

/** The kernel refused or did not answer. `message` is one line: what was tried, why it failed, the code. */
export class KernelError extends Error {
  /** As in errno.h: EPERM, ENODEV, ETIMEDOUT, ... */
  readonly code: string;

  constructor(what: string, code: string, reason: string) {
    super(`cannot ${what}: ${reason} (${code})`);
    this.name = 'KernelError';
    this.code = code;
  }

  /** `errno` is positive; `text` is the kernel's own explanation. */
  static fromErrno(what: string, errno: number, text?: string): KernelError {
    const code = CODES.get(errno) ?? `errno ${errno}`;
    const known = TEXTS[code] ?? getSystemErrorMap().get(-errno)?.[1] ?? 'refused by the kernel';
    const said = text?.replace(/[\s.]+$/, '').replace(/\s+/g, ' ');
    return new KernelError(what, code, said && code !== 'EPERM' ? said : known);
  }

  /** Of something thrown by a socket. */
  static from(what: string, error: unknown): KernelError {
    if (error instanceof KernelError) return error;
    const { code, message } = error as { code?: string; message?: string };
    return new KernelError(what, code ?? 'EIO', TEXTS[code ?? ''] ?? message ?? String(error));
  }
}

/** True for a KernelError with one of these codes. */
export function hasCode(error: unknown, ...codes: string[]): error is KernelError {
  return error instanceof KernelError && codes.includes(error.code);
}

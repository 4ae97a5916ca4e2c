import {
  decodeCompletion,
  decodeMessages,
  encodeMessage,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../protocols/rtnetlink/index.ts';
import { type NetlinkMessageIn, NetlinkSocket } from '../raw-socket/index.ts';
import { hasCode, KernelError } from './kernel-error.ts';

/** So many answers fit the smallest receive buffer; a dump is paced by the kernel. */
const MOST_IN_FLIGHT = 64;
const DUMP_TRIES = 20;

interface Request {
  what: string;
  isDump: boolean;
  encode(sequence: number): Uint8Array;
  /** Of the answers so far. */
  messages: NetlinkMessage[];
  interrupted: boolean;
  timer?: NodeJS.Timeout;
  done(): void;
  reject(error: KernelError): void;
}

export interface NetlinkOptions {
  /** Milliseconds until a request without an answer fails with ETIMEDOUT; default 5000. */
  deadline?: number;
  /** Open file descriptor of the network namespace that it is about, EPERM without CAP_SYS_ADMIN; default ours. */
  namespace?: number;
}

/**
 * Requests to the kernel over netlink, in this process's network namespace or another one. Methods reject with KernelError only.
 * Requests reach the kernel in the order of the calls; it carries each out before it takes the next.
 * The socket does not keep the process alive, a request under way does.
 */
export abstract class NetlinkRequests {
  readonly #socket: NetlinkSocket;
  readonly #deadline: number;
  readonly #waiting: Request[] = [];
  readonly #inFlight = new Map<number, Request>();
  #sequence = 0;
  #dumping = false;
  #closed = false;

  /** `protocol`: as for socket(2); 0 is NETLINK_ROUTE. Throws KernelError. */
  constructor(options: NetlinkOptions = {}, protocol = 0) {
    const { deadline, ...where } = options;
    this.#deadline = deadline ?? 5000;
    try {
      this.#socket = new NetlinkSocket({
        ...where,
        protocol,
        onMessages: (datagrams) => this.#receive(datagrams),
        onError: (error) => this.#failAll((what) => KernelError.from(what, error)),
      });
    } catch (error) {
      throw KernelError.from('open a netlink socket', error);
    }
    this.#socket.unref();
  }

  /** Names the network namespace: no other one until the next boot. undefined: the kernel is older than 5.14. */
  get namespaceCookie(): string | undefined {
    return this.#socket.namespaceCookie?.toString(16);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    this.#failAll((what) => new KernelError(what, 'ECANCELED', 'evbd is stopping'));
  }

  /** Of the socket: who answers and events name as the one who asked. */
  get portId(): number {
    return this.#socket.portId;
  }

  /**
   * Any request that is no dump; resolves with what the kernel sent before its acknowledgement, as `decode` reads it.
   * `what` completes "cannot ...".
   */
  async request<T = NetlinkMessage>(
    what: string,
    type: number,
    flags: number,
    payload: Uint8Array,
    decode: (message: NetlinkMessage) => T = (message) => message as T,
  ): Promise<T[]> {
    const encode = this.#message(type, flags | NLM_F_ACK, payload);
    return decodeAll(await this.#submit({ what, isDump: false, encode }), decode);
  }

  /** Several messages in one datagram, all with the number `sequence`; the first completion counts for all. */
  protected async transact(what: string, encode: (sequence: number) => Uint8Array): Promise<void> {
    await this.#submit({ what, isDump: false, encode });
  }

  protected async dump<T>(
    what: string,
    type: number,
    payload: Uint8Array,
    decode: (message: NetlinkMessage) => T,
    { tries = DUMP_TRIES, takeInterrupted = false } = {},
  ): Promise<T[]> {
    for (let left = tries; left > 0; left--) {
      const encode = this.#message(type, NLM_F_DUMP, payload);
      const request = await this.#submit({ what, isDump: true, encode });
      if (!request.interrupted || (takeInterrupted && left === 1)) return decodeAll(request, decode);
    }
    throw new KernelError(what, 'EINTR', `they changed while they were read, ${tries} times in a row`);
  }

  /** Nothing, where it fails with this code. */
  protected async unless<T>(code: string, answers: Promise<T[]>): Promise<T[]> {
    try {
      return await answers;
    } catch (error) {
      if (hasCode(error, code)) return [];
      throw error;
    }
  }

  #message(type: number, flags: number, payload: Uint8Array): Request['encode'] {
    return (sequence) => encodeMessage({ type, flags: flags | NLM_F_REQUEST, sequence, portId: 0 }, payload);
  }

  #submit(wanted: Pick<Request, 'what' | 'isDump' | 'encode'>): Promise<Request> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new KernelError(wanted.what, 'ECANCELED', 'evbd is stopping'));
      const request: Request = {
        ...wanted,
        messages: [],
        interrupted: false,
        done: () => resolve(request),
        reject,
      };
      this.#waiting.push(request);
      this.#sendWaiting();
    });
  }

  /** In order; a dump goes alone, for the kernel takes only one at a time. */
  #sendWaiting(): void {
    while (this.#waiting.length > 0 && this.#inFlight.size < MOST_IN_FLIGHT && !this.#dumping) {
      if (this.#waiting[0]!.isDump && this.#inFlight.size > 0) return;
      const request = this.#waiting.shift()!;
      this.#dumping = request.isDump;
      this.#send(request);
    }
  }

  #send(request: Request): void {
    this.#sequence = (this.#sequence + 1) >>> 0 || 1;
    const sequence = this.#sequence;
    this.#inFlight.set(sequence, request);
    request.timer = setTimeout(() => {
      this.#settle(sequence);
      request.reject(
        new KernelError(request.what, 'ETIMEDOUT', `no answer from the kernel for ${this.#deadline} ms`),
      );
      this.#sendWaiting();
    }, this.#deadline);
    try {
      this.#socket.send(request.encode(sequence));
    } catch (error) {
      this.#settle(sequence)?.reject(KernelError.from(request.what, error));
    }
  }

  #receive(datagrams: NetlinkMessageIn[]): void {
    for (const { octets, portId } of datagrams) {
      // Only the kernel answers; another process may send to our port id too.
      if (portId !== 0) continue;
      try {
        for (const message of decodeMessages(octets)) this.#answer(message);
      } catch (error) {
        this.#failAll((what) => unreadable(what, error));
      }
    }
    this.#sendWaiting();
  }

  #answer(message: NetlinkMessage): void {
    const request = this.#inFlight.get(message.sequence);
    // An answer to a request that was given up.
    if (!request) return;
    if ((message.flags & NLM_F_DUMP_INTR) !== 0) request.interrupted = true;
    if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) {
      request.messages.push(message);
      return;
    }
    const { errno, text } = decodeCompletion(message);
    this.#settle(message.sequence);
    if (errno === 0) request.done();
    else request.reject(KernelError.fromErrno(request.what, errno, text));
  }

  #settle(sequence: number): Request | undefined {
    const request = this.#inFlight.get(sequence);
    this.#inFlight.delete(sequence);
    clearTimeout(request?.timer);
    if (this.#inFlight.size === 0) this.#dumping = false;
    return request;
  }

  /** Those in flight: their answers are lost. The others go on, unless the socket is closed. */
  #failAll(error: (what: string) => KernelError): void {
    const lost = [...this.#inFlight.keys()].map((sequence) => this.#settle(sequence)!);
    if (this.#closed) lost.push(...this.#waiting.splice(0));
    for (const request of lost) request.reject(error(request.what));
    this.#sendWaiting();
  }
}

function decodeAll<T>(request: Request, decode: (message: NetlinkMessage) => T): T[] {
  try {
    return request.messages.map(decode);
  } catch (error) {
    throw unreadable(request.what, error);
  }
}

function unreadable(what: string, error: unknown): KernelError {
  return new KernelError(what, 'EBADMSG', `the kernel's answer cannot be read: ${(error as Error).message}`);
}

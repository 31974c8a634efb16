import { createHash, randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { MAX_POST_BYTES, MAX_POSTS, SESSION_HEADER } from '../../protocol/link/http-uplink.ts'
import { padding } from '../../protocol/link/records.ts'
import { RecordTransport } from '../../protocol/node/record-transport.ts'
import { offsetAhead, postTooLarge, sessionUnknown, tooManyPosts } from './errors.ts'

/** What an intermediary may hold back before it passes on what follows, in bytes. */
const PADDING_BYTES = 4_096
/** Posts of one session at once: a client's own, and those that it has given up and sent again. */
const MAX_OPEN_POSTS = 2 * MAX_POSTS
/** How long a post waits for those before it, in ms. */
const TURN_MS = 10_000

/** Told apart by secrets alone, and never kept: what opened a session has to come with each post of it. */
function fingerprintOf(authorization: string | undefined): string {
  return createHash('sha256')
    .update(authorization ?? '')
    .digest('base64')
}

/** One link over HTTP streaming, on the proxy's side: its long answer, and the posts that come for it. */
export class HttpSession {
  readonly id = randomBytes(32).toString('base64url')
  readonly owner: string
  readonly transport: RecordTransport
  /** A post has come: the work that it makes is charged to the link. */
  onPost: () => void = () => {}
  readonly #over = new AbortController()
  #receivedBytes = 0
  #posts = 0
  readonly #turns = new Set<() => void>()
  #held: Promise<void> | undefined
  #release: () => void = () => {}

  /** @param owner the fingerprint of what opened it */
  constructor(response: ServerResponse, owner: string, maxFrameBytes: number) {
    this.owner = owner
    const source = { pause: () => this.#hold(), resume: () => this.#unhold() }
    // Node 24 keeps the chunks of a corked response until after the end of its body.
    const { socket } = response
    const corkable = { cork: () => socket?.cork(), uncork: () => socket?.uncork() }
    this.transport = new RecordTransport('http', response, source, maxFrameBytes, corkable)
    response.once('close', () => {
      this.#over.abort()
      this.#unhold()
      this.#wake()
    })
  }

  /** Begins the answer. */
  begin(response: ServerResponse, headers: Record<string, string>): void {
    response.writeHead(200, {
      ...headers,
      'content-type': 'application/octet-stream',
      // Nobody is to keep it, change it, or wait for its end; the last is nginx's word for that.
      'cache-control': 'no-store, no-transform',
      'x-accel-buffering': 'no',
      [SESSION_HEADER]: this.id,
    })
    response.socket?.setNoDelay(true)
    response.write(padding(PADDING_BYTES))
  }

  get isOver(): boolean {
    return this.#over.signal.aborted
  }

  #hold(): void {
    this.#held ??= new Promise((resolve) => {
      this.#release = resolve
    })
  }

  #unhold(): void {
    this.#held = undefined
    this.#release()
  }

  /**
   * Takes the bytes of one post, once those before them are here; what has come before is left out, so that a post may
   * be sent again. Resolves when the link has all of them.
   * @param offset of its first byte among all bytes up
   * @throws {TunnelError} SESSION_UNKNOWN, RATE_LIMITED, REQUEST_INVALID
   */
  async take(offset: number, body: AsyncIterable<Buffer>): Promise<void> {
    if (this.#posts >= MAX_OPEN_POSTS) throw tooManyPosts(MAX_OPEN_POSTS)
    this.#posts++
    try {
      this.onPost()
      await this.#turnOf(offset)
      let at = offset
      for await (const chunk of body) {
        if (at + chunk.length > offset + MAX_POST_BYTES) throw postTooLarge(MAX_POST_BYTES)
        while (this.#held !== undefined) await this.#held
        if (this.isOver) throw sessionUnknown()
        const fresh = chunk.subarray(Math.max(0, this.#receivedBytes - at))
        at += chunk.length
        this.#receivedBytes += fresh.length
        this.transport.received(fresh)
        this.#wake()
      }
    } finally {
      this.#posts--
    }
  }

  /** Until the bytes before `offset` are here. */
  async #turnOf(offset: number): Promise<void> {
    const untilMs = performance.now() + TURN_MS
    while (offset > this.#receivedBytes && !this.isOver) {
      const leftMs = untilMs - performance.now()
      if (leftMs <= 0) throw offsetAhead(offset, this.#receivedBytes)
      await new Promise<void>((resolve) => {
        const go = (): void => {
          clearTimeout(timer)
          this.#turns.delete(go)
          resolve()
        }
        const timer = setTimeout(go, leftMs).unref()
        this.#turns.add(go)
      })
    }
    if (this.isOver) throw sessionUnknown()
  }

  #wake(): void {
    for (const go of [...this.#turns]) go()
  }
}

/** The sessions that stand, by their ids: secrets, each good with what opened it alone. */
export class HttpSessions {
  readonly #sessions = new Map<string, HttpSession>()

  open(response: ServerResponse, authorization: string | undefined, maxFrameBytes: number): HttpSession {
    const session = new HttpSession(response, fingerprintOf(authorization), maxFrameBytes)
    this.#sessions.set(session.id, session)
    response.once('close', () => this.#sessions.delete(session.id))
    return session
  }

  /** Undefined for one that there is not, and for somebody else's: which of the two is not told. */
  find(id: unknown, authorization: string | undefined): HttpSession | undefined {
    const session = typeof id === 'string' ? this.#sessions.get(id) : undefined
    return session?.owner === fingerprintOf(authorization) ? session : undefined
  }
}

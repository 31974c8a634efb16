import type { HttpRequestHead } from '../../../protocol/codec/heads.ts'
import { isIdempotent } from '../../../protocol/codec/http-rules.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'
import type { ConnectionUser, HttpConnection } from './connection.ts'
import type { Party } from './deadline.ts'
import { RequestBody } from './request-body.ts'
import {
  type BodyFraming,
  declaredLength,
  framingOfWhole,
  mayBeBodiless,
  requestText,
  upgradeAsked,
} from './request-head.ts'

/** A request on its way from its stream to a connection: its head, and its body or what follows an upgrade. */
export class OutgoingRequest {
  readonly #stream: ByteStream
  readonly #head: HttpRequestHead
  readonly #body: RequestBody
  /** The whole request rode on OPEN. Said once, so that what is sent does not depend on timing. */
  #whole = false
  /** The protocol that the connection is to be switched to; what the opener sends are then its bytes, and no body. */
  #upgrade: string | undefined
  /** The caller may hold its body back until the service has said that it wants it. */
  #awaitsContinue = false

  constructor(stream: ByteStream, head: HttpRequestHead) {
    this.#stream = stream
    this.#head = head
    this.#body = new RequestBody((byteCount) => stream.consumed(byteCount))
  }

  /** All of it was there when it was settled how it is sent: it can be sent again. */
  get isWhole(): boolean {
    return this.#whole
  }
  get isUpgrade(): boolean {
    return this.#upgrade !== undefined
  }
  /** Nothing more comes from the caller. */
  get ended(): boolean {
    return this.#body.ended
  }
  get isIdempotent(): boolean {
    return isIdempotent(this.#head.method)
  }

  /** Only the first byte of a body, or its end, will tell whether there is one. */
  get isUndecided(): boolean {
    return this.#stream.peer === undefined && mayBeBodiless(this.#head) && this.#body.byteCount === 0
  }

  /** Who has to move for it to get on; undefined: nobody, while the pace of its user holds the caller back. */
  get awaits(): Party | undefined {
    const { ended, isHeld } = this.#body
    if (ended || isHeld || this.isUpgrade || this.#awaitsContinue) return 'service'
    return this.#stream.isWithholding ? undefined : 'caller'
  }

  /** How it is sent, by what of it is here. */
  settle(): void {
    this.#whole = this.#body.ended
    if (!this.#whole) this.#upgrade = upgradeAsked(this.#head)
  }

  /**
   * What sends it; call it in the same turn.
   * @param more headers in the place of those of the same name
   * @throws {TunnelError} FRAME_INVALID for what cannot be sent
   */
  prepare(
    authority: string,
    more: Record<string, string>,
  ): (connection: HttpConnection, user: ConnectionUser) => void {
    const { method } = this.#head
    const { peer } = this.#stream
    const upgrade = this.#upgrade
    const declared = declaredLength(this.#head.headers)
    const body = this.#whole ? this.#body.whole() : undefined
    const expectsContinue = peer?.expectsContinue === true && !this.#whole
    const hop = { upgrade, expectsContinue, trailers: peer?.takesTrailers === true }
    const head = requestText(this.#head, more, authority, this.#framing(declared, body), hop)
    const expected = { upgrade: upgrade !== undefined, trailers: peer !== undefined }
    return (connection, user) => {
      if (upgrade !== undefined) {
        connection.send(method, head, 'none', user, expected)
      } else if (body !== undefined) {
        connection.send(method, head, body.length === 0 ? 'none' : body, user, expected)
      } else {
        this.#awaitsContinue = expectsContinue && this.#body.byteCount === 0
        connection.send(method, head, declared === undefined ? 'chunked' : 'length', user, expected)
        this.#body.attach(connection, declared)
      }
    }
  }

  /** @throws {TunnelError} FRAME_INVALID when there is more than was declared */
  data(bytes: Uint8Array): void {
    this.#awaitsContinue = false
    this.#body.data(bytes)
  }

  /** @throws {TunnelError} FRAME_INVALID when there is less than was declared */
  end(): void {
    this.#body.end(this.#stream.peer?.requestTrailers)
  }

  /** The connection takes more. */
  drained(): void {
    this.#body.drained()
  }

  /** Whether an interim response says that the caller may go on, which waited for that. */
  continues(status: number): boolean {
    if (status !== 100 || !this.#awaitsContinue) return false
    this.#awaitsContinue = false
    return true
  }

  /** The service has answered, and so said whether the connection is switched. */
  answered(status: number, connection: HttpConnection | undefined): void {
    if (!this.isUpgrade) return
    // What came before the response was meant for the other protocol.
    if (status !== 101 || connection === undefined) this.#body.discard()
    else this.#body.attach(connection, undefined)
  }

  /** What still comes of it is dropped. */
  discard(): void {
    this.#body.discard()
  }

  #framing(declared: number | undefined, body: Buffer | undefined): BodyFraming {
    if (this.isUpgrade) return 'none'
    return body === undefined ? (declared ?? 'chunked') : framingOfWhole(this.#head, body.length)
  }
}

import { Duplex } from 'node:stream'

/**
 * An SSH channel as undici wants a socket: ssh2's channels are neither `destroyed` when they are destroyed nor
 * 'close' before the peer has answered, and undici would send the next request into one that is gone.
 */
export class ChannelSocket extends Duplex {
  readonly #channel: Duplex
  #held = false

  constructor(channel: Duplex) {
    super({ allowHalfOpen: true, readableHighWaterMark: 65_536 })
    this.#channel = channel
    channel.on('data', (bytes: Buffer) => {
      if (!this.push(bytes)) channel.pause()
    })
    channel.on('end', () => this.push(null))
    channel.on('error', (error) => this.destroy(error))
    // An end that has not been read yet is read first; a channel that closed without one never had it.
    channel.on('close', () => {
      if (!channel.readableEnded) this.destroy()
    })
  }

  /**
   * Backpressure: nothing more is taken from the channel, its end included. undici's own way, to pause its parser, is
   * not to be used: it ends in a failed assertion when the connection ends meanwhile.
   */
  hold(): void {
    this.#held = true
    this.#channel.pause()
  }

  release(): void {
    if (!this.#held) return
    this.#held = false
    this.#channel.resume()
  }

  /** What undici throws at an event would end the process. Here it ends this connection. */
  override emit(event: string | symbol, ...values: unknown[]): boolean {
    try {
      return super.emit(event, ...values)
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)))
      return true
    }
  }

  override _read(): void {
    if (!this.#held) this.#channel.resume()
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    if (this.#channel.write(chunk)) callback()
    else this.#channel.once('drain', callback)
  }

  override _final(callback: () => void): void {
    this.#channel.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#channel.destroy()
    callback(error)
  }
}

import type { Socket } from 'node:net'
import { TunnelError } from '../protocol/codec/errors.ts'
import { LoginWatch } from './login-watch.ts'

/** Logins of one user that are under way at once: fewer than the ten from which sshd turns others away (MaxStartups). */
const MAX_LOGINS = 8
/** Those of one user that may wait for their turn. */
const MAX_WAITING = 256
/** How long one waits before it is told to come back, in ms. */
const WAIT_MS = 15_000
/** When it may, in ms. */
const RETRY_MS = 1_000
/** How long one that is logging in may be away while another of its user waits, in ms: longer than a change of network takes. */
const AWAY_MS = 10_000
/** How long sshd may take to notice that one who has not logged in has left, in ms: until then it still counts that one. */
const NOTICED_MS = 250
/** Until then sshd has hung up on whoever has not logged in (its LoginGraceTime), in ms. */
const LOGIN_GRACE_MS = 120_000

/** Whoever wants to log in. */
export interface Asker {
  /** Whoever asks has given up. */
  gone: AbortSignal
  /** Nobody is there to log in now: its turn is another's until it is back. */
  isAway?(): boolean
  /** Ends a login that is under way: whoever wanted it has long been away, and others of the same user wait. */
  giveUp?(error: TunnelError): void
}

interface Waiting extends Asker {
  turn(): void
}

/** A login that is under way. */
interface Place {
  asker: Asker
  /** Runs from when its asker went away, or its connection closed. */
  timer: NodeJS.Timeout | undefined
  /** Its asker has been away for longer than others have to wait for. */
  isForsaken: boolean
}

interface Subject {
  logins: Set<Place>
  /** Served in their order. */
  waiting: Set<Waiting>
}

/** A login that is under way; safe to end twice. */
export interface Login {
  over(): void
  /** Its connection has closed: its place is free when sshd has noticed that. */
  left(): void
}

/**
 * Who logs in to the machine's sshd. sshd counts everybody together there, so that a user with ten connections that do
 * not log in would keep all others out.
 */
export class Logins {
  readonly #subjects = new Map<string, Subject>()

  /**
   * Resolves when it is this user's turn.
   * @throws {TunnelError} TOO_MANY_CONNECTIONS, ABORTED
   */
  begin(whose: string, asker: Asker): Promise<Login> {
    const { gone } = asker
    if (gone.aborted) return Promise.reject(givenUp())
    const subject = this.#subjects.get(whose) ?? { logins: new Set(), waiting: new Set() }
    this.#subjects.set(whose, subject)
    if (subject.logins.size < MAX_LOGINS) return Promise.resolve(this.#admit(whose, subject, asker))
    if (subject.waiting.size >= MAX_WAITING) return Promise.reject(tooManyLogins())
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer)
        gone.removeEventListener('abort', onGone)
        subject.waiting.delete(waiting)
        this.#forget(whose, subject)
      }
      const waiting = {
        ...asker,
        turn: () => {
          resolve(this.#admit(whose, subject, asker))
          leave()
        },
      }
      const onGone = (): void => {
        leave()
        reject(givenUp())
      }
      const timer = setTimeout(() => {
        leave()
        reject(tooManyLogins())
      }, WAIT_MS).unref()
      gone.addEventListener('abort', onGone, { once: true })
      subject.waiting.add(waiting)
      endForsaken(subject)
    })
  }

  /** One of this user's has lost its connection. */
  away(whose: string, asker: Asker): void {
    const subject = this.#subjects.get(whose)
    const place = subject && placeOf(subject, asker)
    if (place !== undefined) leaveAlone(subject as Subject, place)
  }

  /** One of this user's that was away is back. */
  back(whose: string, asker: Asker): void {
    const subject = this.#subjects.get(whose)
    if (subject === undefined) return
    const place = placeOf(subject, asker)
    if (place !== undefined) {
      clearTimeout(place.timer)
      place.isForsaken = false
    } else if (subject.logins.size < MAX_LOGINS) nextOf(subject)?.turn()
    // It may be the first that is there to take what another has forsaken.
    else endForsaken(subject)
  }

  #admit(whose: string, subject: Subject, asker: Asker): Login {
    const place: Place = { asker, timer: undefined, isForsaken: false }
    subject.logins.add(place)
    if (asker.isAway?.()) leaveAlone(subject, place)
    const over = (): void => {
      clearTimeout(place.timer)
      if (!subject.logins.delete(place)) return
      const next = nextOf(subject)
      if (next !== undefined) next.turn()
      else this.#forget(whose, subject)
    }
    const left = (): void => {
      clearTimeout(place.timer)
      if (subject.logins.has(place)) place.timer = setTimeout(over, NOTICED_MS).unref()
    }
    return { over, left }
  }

  /** The agent stops: nobody's turn comes any more. Safe to call twice. */
  close(): void {
    for (const { logins } of this.#subjects.values()) {
      for (const { timer } of logins) clearTimeout(timer)
      // What is over from here on gives its place to nobody.
      logins.clear()
    }
    this.#subjects.clear()
  }

  #forget(whose: string, { logins, waiting }: Subject): void {
    if (logins.size + waiting.size === 0) this.#subjects.delete(whose)
  }
}

function nextOf({ waiting }: Subject): Waiting | undefined {
  for (const each of waiting) if (each.isAway?.() !== true) return each
  return undefined
}

function placeOf({ logins }: Subject, asker: Asker): Place | undefined {
  for (const place of logins) if (place.asker === asker) return place
  return undefined
}

function leaveAlone(subject: Subject, place: Place): void {
  clearTimeout(place.timer)
  place.timer = setTimeout(() => {
    place.isForsaken = true
    endForsaken(subject)
  }, AWAY_MS).unref()
}

/**
 * A login whose caller was killed is told from one whose caller changes networks by its length alone. So it keeps its
 * place, and its connection to sshd, until another of the same user wants it: no place is free while sshd still counts the
 * connection.
 */
function endForsaken(subject: Subject): void {
  if (subject.logins.size < MAX_LOGINS || nextOf(subject) === undefined) return
  for (const place of subject.logins) {
    if (!place.isForsaken || place.asker.giveUp === undefined) continue
    // Its place is free when its connection has closed; who asks until then takes another's.
    place.isForsaken = false
    return place.asker.giveUp(givenToAnother())
  }
}

/** Ends `login` soon after the paused `socket` has closed, or when it shows or has lasted so long that its client is logged in. */
export function watchLogin(socket: Socket, login: Login): void {
  if (socket.destroyed) return login.over()
  const watch = new LoginWatch()
  const stop = (): void => {
    clearTimeout(timer)
    socket.off('data', onData).off('close', onClose)
  }
  const end = (): void => {
    stop()
    login.over()
  }
  const onClose = (): void => {
    stop()
    login.left()
  }
  const onData = (bytes: Buffer): void => {
    if (watch.feed(bytes)) end()
  }
  const timer = setTimeout(end, LOGIN_GRACE_MS).unref()
  // Listening alone would set it flowing, before anybody else listens.
  socket.pause().on('data', onData).once('close', onClose)
}

function givenUp(): TunnelError {
  return new TunnelError('ABORTED', 'the stream was given up', { hop: 'agent' })
}

function givenToAnother(): TunnelError {
  const text = `the connection was lost during the login for more than ${AWAY_MS / 1_000} s, and another login of yours has its place`
  return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'agent', retryAfterMs: RETRY_MS })
}

function tooManyLogins(): TunnelError {
  const text = `${MAX_LOGINS} of your connections to this machine's SSH server are logging in, and many wait`
  return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'agent', retryAfterMs: RETRY_MS })
}

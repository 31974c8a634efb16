/** A value that survives JSON unchanged. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

export interface RecordOptions {
  /** The record is gone after so many ms. @default never */
  ttlMs?: number
}

/**
 * Records by namespace, a plain word (`pin`), and key, any text that is not empty. Each call is one atomic step: of
 * several at once one comes after the other, whichever proxy they come from.
 */
export interface Records {
  get(namespace: string, key: string): Promise<Json | undefined>
  /** A record that had an end has the one that is given here, or none. */
  put(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<void>
  /** Puts the record only where there is none, and says whether it did: of two at once, one wins. */
  create(namespace: string, key: string, value: Json, options?: RecordOptions): Promise<boolean>
  /**
   * Puts the record only where `before`, as it was read, is there still, and says whether it did: of two that have read
   * the same, one wins.
   */
  replace(
    namespace: string,
    key: string,
    before: Json,
    value: Json,
    options?: RecordOptions,
  ): Promise<boolean>
  /** Deletes the record and answers with it: of two at once, one gets it. */
  take(namespace: string, key: string): Promise<Json | undefined>
  delete(namespace: string, key: string): Promise<void>
  /**
   * The records whose keys begin with `prefix`, in the order of their keys, those behind the key `after` where it is
   * given; at most `limit` (default 1_000).
   */
  list(
    namespace: string,
    prefix?: string,
    limit?: number,
    after?: string,
  ): Promise<[key: string, value: Json][]>
}

/** A token bucket: holds at most `burst` tokens, and `perMinute` of them come back in a minute. */
export interface BucketLimit {
  perMinute: number
  burst: number
}

export interface TokenAnswer {
  allowed: boolean
  /** Whole tokens left after this call. */
  remaining: number
  /** When the same call may succeed, in ms from now; 0 where it was allowed. */
  retryAfterMs: number
}

/** Records that were confirmed and are not there any more. */
export interface StateLoss {
  records: number
  /** Holds how many there should be; whoever accepts the loss deletes it. */
  file: string
}

/** Told of the records of a namespace as they are written; what is told is a hint, and `list` is the truth. */
export interface Watcher {
  /** A record was put, created or replaced, by this proxy or another. */
  written(key: string, value: Json): void
  /** Something may have been written that was not told: read the namespace anew. */
  missed(): void
}

/** What the proxy remembers, behind one interface whatever keeps it. Its own records outlive the process. */
export interface State extends Records {
  /** What was lost before the start and has not come back; undefined where nothing is missing, or it cannot be known. */
  readonly loss?: StateLoss | undefined
  /**
   * How long what a watcher has read may be gone by when it cannot be read anew, in ms; undefined where it cannot be
   * missed in the first place.
   */
  readonly staleMs?: number | undefined
  /** False while what keeps the records does not answer, or did not carry out the last call. @default true */
  readonly isAvailable?: boolean
  /** The time by which records end, in epoch ms: the same for all who share them. @default this process's own */
  nowMs?(): Promise<number>
  /** Records that need not outlive the process, and cost no write to a disk; each of them has to have a `ttlMs`. */
  readonly volatile: Records
  /** Returns what ends the watch. */
  watch(namespace: string, watcher: Watcher): () => void
  /** Takes `cost` (default 1) tokens, or none. A cost above the burst can never be had and throws RangeError. */
  takeToken(bucket: string, limit: BucketLimit, cost?: number): Promise<TokenAnswer>
  /**
   * While the buckets of all cannot be asked, each replica allows its share. @param replicas how many there are
   */
  shareAmong?(replicas: () => number): void
  /** Safe to call twice. */
  close(): Promise<void>
}

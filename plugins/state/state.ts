/** A value that survives JSON unchanged. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }

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

/**
 * What the proxy remembers, behind one interface whatever keeps it. Records outlive the process; buckets need not.
 * A namespace is a plain word (`pin`); a key is any non-empty text.
 */
export interface State {
  /** What was lost before the start and has not come back; undefined where nothing is missing, or it cannot be known. */
  readonly loss?: StateLoss | undefined
  get(namespace: string, key: string): Promise<Json | undefined>
  put(namespace: string, key: string, value: Json): Promise<void>
  /** Puts the record only where there is none, and says whether it did: of two at once, one wins. */
  create(namespace: string, key: string, value: Json): Promise<boolean>
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
  /** Takes `cost` (default 1) tokens, or none. A cost above the burst can never be had and throws RangeError. */
  takeToken(bucket: string, limit: BucketLimit, cost?: number): Promise<TokenAnswer>
  /** Safe to call twice. */
  close(): Promise<void>
}

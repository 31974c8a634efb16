/** Bytes of frames that links have carried, before compression; shared by links whose owner wants one sum. */
export interface Traffic {
  sentBytes: number
  receivedBytes: number
}

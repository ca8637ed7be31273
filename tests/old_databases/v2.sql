BEGIN TRANSACTION;
CREATE TABLE attempt (
	id INTEGER NOT NULL, 
	model INTEGER NOT NULL, 
	"row" BIGINT NOT NULL, 
	sample INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	downed BOOLEAN NOT NULL, 
	permanent BOOLEAN NOT NULL, 
	sent BOOLEAN NOT NULL, 
	void BOOLEAN NOT NULL, 
	blame TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	host TEXT NOT NULL, 
	message TEXT NOT NULL, 
	completion TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "attempt" VALUES(1,1,6,0,1700000000000000,0,0,1,0,'unclear','deadline','p40','too slow',NULL);
INSERT INTO "attempt" VALUES(2,1,7,0,1700000000000000,0,0,1,0,'unclear','deadline','p40','too slow',NULL);
INSERT INTO "attempt" VALUES(3,1,8,0,1700000000000000,0,0,1,0,'unclear','deadline','p40','too slow',NULL);
CREATE TABLE dead (
	model INTEGER NOT NULL, 
	"row" BIGINT NOT NULL, 
	sample INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	prompt_tokens INTEGER, 
	output_tokens INTEGER, 
	duration_s FLOAT, 
	finished_at BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	host TEXT, 
	digest TEXT, 
	error TEXT NOT NULL, 
	kept TEXT NOT NULL, 
	completion TEXT, 
	PRIMARY KEY (model, "row", sample)
);
INSERT INTO "dead" VALUES(1,6,0,3,NULL,NULL,NULL,1700000001500000,'deadline',NULL,NULL,'deadline: row 6 took too long','{"name":"f"}',NULL);
INSERT INTO "dead" VALUES(1,7,0,3,NULL,NULL,NULL,1700000001500000,'deadline',NULL,NULL,'deadline: row 7 took too long','{"name":"f"}',NULL);
CREATE TABLE host_tally (
	model INTEGER NOT NULL, 
	host TEXT NOT NULL, 
	rows BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	output_tokens BIGINT NOT NULL, 
	busy_s FLOAT NOT NULL, 
	last_finished_at BIGINT NOT NULL, 
	PRIMARY KEY (model, host)
)
 WITHOUT ROWID

;
INSERT INTO "host_tally" VALUES(1,'p40',6,600,60,9.0,1700000000250000);
CREATE TABLE model (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "model" VALUES(1,'m');
CREATE TABLE part (
	number INTEGER NOT NULL, 
	first_seq BIGINT NOT NULL, 
	last_seq BIGINT NOT NULL, 
	size_bytes BIGINT, 
	sha256 TEXT, 
	PRIMARY KEY (number)
);
INSERT INTO "part" VALUES(0,1,4,1234,'abababababababababababababababababababababababababababababababab');
CREATE TABLE result (
	seq INTEGER NOT NULL, 
	model INTEGER NOT NULL, 
	"row" BIGINT NOT NULL, 
	sample INTEGER NOT NULL, 
	score FLOAT, 
	attempts INTEGER NOT NULL, 
	prompt_tokens INTEGER, 
	output_tokens INTEGER, 
	duration_s FLOAT NOT NULL, 
	finished_at BIGINT NOT NULL, 
	host TEXT NOT NULL, 
	digest TEXT, 
	fields TEXT NOT NULL, 
	kept TEXT NOT NULL, 
	completion TEXT NOT NULL, 
	PRIMARY KEY (seq)
);
INSERT INTO "result" VALUES(1,1,0,0,7.0,1,100,10,1.5,1700000000250000,'p40','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','{"score":7,"reason":"because of 0"}','{"name":"f"}','{"score": 7}');
INSERT INTO "result" VALUES(2,1,1,0,7.0,1,100,10,1.5,1700000000250000,'p40','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','{"score":7,"reason":"because of 1"}','{"name":"f"}','{"score": 7}');
INSERT INTO "result" VALUES(3,1,2,0,7.0,1,100,10,1.5,1700000000250000,'p40','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','{"score":7,"reason":"because of 2"}','{"name":"f"}','{"score": 7}');
INSERT INTO "result" VALUES(4,1,3,0,7.0,1,100,10,1.5,1700000000250000,'p40','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','{"score":7,"reason":"because of 3"}','{"name":"f"}','{"score": 7}');
INSERT INTO "result" VALUES(5,1,4,0,7.0,1,100,10,1.5,1700000000250000,'p40','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','{"score":7,"reason":"because of 4"}','{"name":"f"}','{"score": 7}');
INSERT INTO "result" VALUES(6,1,5,0,7.0,1,100,10,1.5,1700000000250000,'p40','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd','{"score":7,"reason":"because of 5"}','{"name":"f"}','{"score": 7}');
CREATE TABLE run (
	epoch INTEGER NOT NULL, 
	started_at BIGINT NOT NULL, 
	last_commit_at BIGINT NOT NULL, 
	pid INTEGER NOT NULL, 
	machine TEXT NOT NULL, 
	scorer TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (epoch)
);
INSERT INTO "run" VALUES(1,1700000000000000,1700000002000000,4711,'studio','0.1.0');
CREATE TABLE score_tally (
	model INTEGER NOT NULL, 
	host TEXT NOT NULL, 
	score FLOAT NOT NULL, 
	rows BIGINT NOT NULL, 
	PRIMARY KEY (model, host, score)
)
 WITHOUT ROWID

;
INSERT INTO "score_tally" VALUES(1,'p40',7.0,6);
CREATE TABLE task (
	model INTEGER NOT NULL, 
	"row" BIGINT NOT NULL, 
	sample INTEGER NOT NULL, 
	state INTEGER NOT NULL, 
	tries INTEGER NOT NULL, 
	PRIMARY KEY (model, "row", sample)
)
 WITHOUT ROWID

;
INSERT INTO "task" VALUES(1,0,0,1,1);
INSERT INTO "task" VALUES(1,1,0,1,1);
INSERT INTO "task" VALUES(1,2,0,1,1);
INSERT INTO "task" VALUES(1,3,0,1,1);
INSERT INTO "task" VALUES(1,4,0,1,1);
INSERT INTO "task" VALUES(1,5,0,1,1);
INSERT INTO "task" VALUES(1,6,0,2,3);
INSERT INTO "task" VALUES(1,7,0,2,3);
INSERT INTO "task" VALUES(1,8,0,0,1);
INSERT INTO "task" VALUES(1,9,0,0,0);
INSERT INTO "task" VALUES(1,10,0,0,0);
INSERT INTO "task" VALUES(1,11,0,0,0);
CREATE INDEX attempt_task ON attempt (model, "row", sample);
CREATE INDEX result_finished ON result (finished_at, host);
CREATE UNIQUE INDEX result_task ON result (model, "row", sample);
COMMIT;
PRAGMA user_version=2;
